package questions

import (
	"iter"

	"ephemera/ingest/flow"
)

// flows aggregates records by interface, addresses, ports, protocol and
// action: in a smaller table where both addresses are IPv4.
type flows struct {
	seed uint64
	ipv4 *table[key4]
	any  *table[key16]
}

func newFlows() *flows {
	return &flows{seed: newSeed(), ipv4: newTable[key4](), any: newTable[key16]()}
}

// next4 returns the sums to fill in for a record between IPv4 hosts.
func (f *flows) next4(k key4) *sums {
	e := f.ipv4.next(k.hash(f.seed))
	e.key = k
	return &e.sums
}

// put counts s under k. Addresses that are both IPv4 make a key4: one group
// is in one table.
func (f *flows) put(k key16, s sums) {
	if k4, ok := k.narrow(); ok {
		*f.next4(k4) = s
		return
	}
	e := f.any.next(k.hash(f.seed))
	*e = entry[key16]{k, s}
}

// add counts r, which was seen at the interface of a number.
func (f *flows) add(interfaceNumber uint32, r *flow.Record) {
	ports := packFlow(interfaceNumber, r.SrcPort, r.DstPort)
	kind := packKind(r.Proto, r.Action)
	s := sums{1, r.Packets, r.Bytes, r.Start, r.End}
	if src, dst, ok := ipv4(r.Src, r.Dst); ok {
		*f.next4(key4{packHosts(src, dst), ports, kind}) = s
	} else {
		f.put(key16{r.Src, r.Dst, ports, kind}, s)
	}
}

func (f *flows) len() int { return f.ipv4.len() + f.any.len() }

// all yields the keys and their sums, in no order that means anything.
func (f *flows) all() iter.Seq2[key16, *sums] {
	return func(yield func(key16, *sums) bool) {
		for e := range f.ipv4.all() {
			if !yield(e.key.wide(), &e.sums) {
				return
			}
		}
		for e := range f.any.all() {
			if !yield(e.key, &e.sums) {
				return
			}
		}
	}
}
