package picker

import (
	"cmp"
	"slices"

	"ephemera/rules"
)

// SampleSize is the most connections that a Sample keeps.
const SampleSize = 1024

// sampleSlack is how many more connections a Sample holds before it drops
// those that it does not keep, so that it sorts rarely.
const sampleSlack = 256

// A Sample is a bounded sample of connections. It keeps those with the
// smallest hashes, so that it is a random choice that depends neither on the
// order of adding nor on how the connections were spread over samples that
// were merged (a bottom-k sketch: Cohen and Kaplan, "Summarizing data using
// bottom-k sketches", 2007). Of every connection, kept or not, it knows that
// its port was used.
//
// It takes some 30 KiB when it is full, and up to 8 KiB for the ports. The
// zero Sample is empty and ready to use. Not safe for concurrent use.
type Sample struct {
	count int
	used  rules.PortBitmap
	kept  []connection // at most SampleSize+sampleSlack, in no order
	limit uint64       // once full: the largest hash that can still be among the smallest
	full  bool
}

// A connection is what a sample keeps of one.
type connection struct {
	hash  uint64
	start int64
	port  uint16
}

func (c connection) compare(d connection) int {
	return cmp.Or(cmp.Compare(c.hash, d.hash), cmp.Compare(c.start, d.start), cmp.Compare(c.port, d.port))
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
	s.keep(connection{mix(id), start, port})
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
	if s.full && c.hash > s.limit {
		return
	}
	s.kept = append(s.kept, c)
	if len(s.kept) < SampleSize+sampleSlack {
		return
	}
	slices.SortFunc(s.kept, connection.compare)
	s.kept = s.kept[:SampleSize]
	s.full, s.limit = true, s.kept[SampleSize-1].hash
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
		out[i] = c.port
	}
	return out
}

// connections returns those that are kept, in the order of time.
func (s *Sample) connections() []connection {
	kept := slices.Clone(s.kept)
	slices.SortFunc(kept, connection.compare)
	kept = kept[:min(len(kept), SampleSize)]
	slices.SortStableFunc(kept, func(c, d connection) int { return cmp.Compare(c.start, d.start) })
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
