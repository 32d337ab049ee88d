package questions

import (
	"ephemera/ingest/flow"
)

// pair is two hosts, the lesser address first.
type pair struct{ low, high flow.Addr }

func newPair(a, b flow.Addr) pair {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// pairs are the FTP pairs and their first times. Most records are of others,
// so a bit for each hash of a pair answers before the map is asked; there are
// at least 32 bits a pair, which lets one in 32 of the others through.
type pairs struct {
	first  map[pair]int64 // Unix seconds
	filter []uint64
	shift  uint // of a hash, to its bit in filter
}

// smallFilter is 2^16 bits, of 8 KB: they stay in the nearest cache.
const smallFilter = 16

func newPairs() *pairs {
	p := &pairs{first: map[pair]int64{}}
	p.clear(smallFilter)
	return p
}

// clear makes an empty filter of 2^n bits.
func (p *pairs) clear(n uint) {
	p.filter = make([]uint64, 1<<n/64)
	p.shift = 64 - n
}

// see takes a control record between a and b, and reports whether it is the
// pair's first until now.
func (p *pairs) see(a, b flow.Addr, start int64) bool {
	k := newPair(a, b)
	if first, known := p.first[k]; known && first <= start {
		return false
	}
	p.first[k] = start
	p.mark(k)
	if bits := len(p.filter) * 64; len(p.first) > bits/32 {
		p.clear(64 - p.shift + 1)
		for k := range p.first {
			p.mark(k)
		}
	}
	return true
}

func (p *pairs) mark(k pair) {
	bit := hashHosts(k.low, k.high) >> p.shift
	p.filter[bit/64] |= 1 << (bit % 64)
}

// may reports whether hosts with this hash may be an FTP pair.
func (p *pairs) may(hash uint64) bool {
	bit := hash >> p.shift
	return p.filter[bit/64]>>(bit%64)&1 != 0
}

// since returns the time from which records between a and b count; ok is
// false when they are no FTP pair.
func (p *pairs) since(a, b flow.Addr) (time int64, ok bool) {
	first, ok := p.first[newPair(a, b)]
	return first - before, ok
}

// hashHosts is the same for both orders of a and b.
func hashHosts(a, b flow.Addr) uint64 {
	if a4, b4, ok := ipv4(a, b); ok {
		return hashHosts4(a4, b4)
	}
	aHi, aLo := words(a)
	bHi, bLo := words(b)
	return fold(fold(aHi^hashFactor, aLo^mixFactor)+fold(bHi^hashFactor, bLo^mixFactor), hashFactor)
}

// hashHosts4 is hashHosts for IPv4.
func hashHosts4(a, b uint32) uint64 {
	return fold(packHosts(min(a, b), max(a, b))^mixFactor, hashFactor)
}
