package picker

import (
	"cmp"
	"slices"

	"ephemera/rules"
)

// SampleSize is the most connections that a Sample keeps.
const SampleSize = 1024

// A Sample is a bounded sample of connections. It keeps those with the
// smallest hashes, so that it is a random choice that depends neither on the
// order of adding nor on how the connections were spread over samples that
// were merged (a bottom-k sketch: Cohen and Kaplan, "Summarizing data using
// bottom-k sketches", 2007). Of every connection, kept or not, it knows that
// its port was used.
//
// It takes 16 KiB when it is full, and up to 8 KiB for the ports. The
// zero Sample is empty and ready to use. Not safe for concurrent use.
type Sample struct {
	count int
	used  rules.PortBitmap
	kept  []connection // at most SampleSize; then a heap, the largest hash first
}

// A connection is what a sample keeps of one: half as much when start and port
// share a word, of which the port takes the last 16 bits.
type connection struct {
	hash uint64
	when int64
}

func (c connection) start() int64 { return c.when >> 16 }
func (c connection) port() uint16 { return uint16(c.when) }

// before orders connections by hash, start and port.
func (c connection) before(d connection) bool {
	return c.hash < d.hash || c.hash == d.hash && c.when < d.when
}

// Add puts in a connection that began at start, in Unix seconds, and used
// the given port. The id names the connection: any hash of what tells it
// from others, the same in every run. It need not be well mixed. Add reports
// whether the port is new.
func (s *Sample) Add(start int64, port uint16, id uint64) bool {
	s.AddAgain(start, port, id)
	return s.used.Add(port)
}

// AddAgain is Add for a port that was surely added before, which it need not
// look up.
func (s *Sample) AddAgain(start int64, port uint16, id uint64) {
	s.count++
	s.keep(connection{mix(id), start<<16 | int64(port)})
}

// Merge adds all connections of o, which stays as it is.
func (s *Sample) Merge(o *Sample) {
	s.count += o.count
	s.used.AddSet(o.used.Set())
	for _, c := range slices.Clone(o.kept) {
		s.keep(c)
	}
}

func (s *Sample) keep(c connection) {
	switch {
	case len(s.kept) < SampleSize:
		if len(s.kept) == SampleSize/2 {
			s.kept = append(make([]connection, 0, SampleSize), s.kept...) // and no more
		}
		s.kept = append(s.kept, c)
		if len(s.kept) == SampleSize {
			for i := SampleSize/2 - 1; i >= 0; i-- {
				s.sink(i)
			}
		}
	case c.before(s.kept[0]):
		s.kept[0] = c
		s.sink(0)
	}
}

// sink puts the i-th connection of the heap behind those that are larger.
func (s *Sample) sink(i int) {
	h := s.kept
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[child].before(h[right]) {
			child = right
		}
		if !h[i].before(h[child]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// Count returns how many connections were added.
func (s *Sample) Count() int { return s.count }

// Used returns the ports of all connections that were added, not only of
// those that are kept.
func (s *Sample) Used() rules.PortSet { return s.used.Set() }

// Ports returns the ports of the connections that are kept, in the order of
// the connections' starts. Those that began in one second are in the order
// of their hashes, which says nothing about time.
func (s *Sample) Ports() []uint16 { return ports(s.connections()) }

func ports(cs []connection) []uint16 {
	out := make([]uint16, len(cs))
	for i, c := range cs {
		out[i] = c.port()
	}
	return out
}

// connections returns those that are kept, in the order of time.
func (s *Sample) connections() []connection {
	kept := slices.Clone(s.kept)
	slices.SortFunc(kept, func(c, d connection) int {
		return cmp.Or(cmp.Compare(c.start(), d.start()), cmp.Compare(c.hash, d.hash), cmp.Compare(c.when, d.when))
	})
	return kept
}

// mix spreads ids over all hashes. It is the finalizer of SplitMix64
// (Steele, Lea and Flood, 2014), which is a permutation: ids that differ
// stay different.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
