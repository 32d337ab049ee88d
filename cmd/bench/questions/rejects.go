package questions

import (
	"cmp"
	"slices"

	"ephemera/ingest/flow"
)

// rejects counts what was refused, by interface, destination port and
// protocol.
type rejects struct {
	seed  uint64
	table *table[rejectKey]
}

// rejectKey is an interface number, a port and a protocol in one word.
type rejectKey uint64

func (k rejectKey) interfaceNumber() uint32 { return uint32(k >> 32) }
func (k rejectKey) port() uint16            { return uint16(k >> 8) }
func (k rejectKey) protocol() flow.Proto    { return flow.Proto(k) }

func newRejects() *rejects {
	return &rejects{seed: newSeed(), table: newTable[rejectKey]()}
}

func (j *rejects) add(interfaceNumber uint32, r *flow.Record) {
	k := rejectKey(uint64(interfaceNumber)<<32 | uint64(r.DstPort)<<8 | uint64(r.Proto))
	e := j.table.next(fold(uint64(k)^j.seed, hashFactor))
	*e = entry[rejectKey]{k, sums{1, r.Packets, r.Bytes, r.Start, r.End}}
}

// write writes rejects.csv.
func (j *rejects) write(w *csvWriter, seen *interfaces) {
	w.header("interface_id,dstport,protocol,records,packets,bytes")
	names := seen.ranking()
	rows := slices.Collect(j.table.all())
	slices.SortFunc(rows, func(a, b *entry[rejectKey]) int {
		return cmp.Or(
			cmp.Compare(names.ranks[a.key.interfaceNumber()], names.ranks[b.key.interfaceNumber()]),
			cmp.Compare(a.key.port(), b.key.port()),
			cmp.Compare(a.key.protocol(), b.key.protocol()))
	})
	for _, e := range rows {
		w.text(names.sorted[names.ranks[e.key.interfaceNumber()]])
		w.number(uint64(e.key.port()))
		w.number(uint64(e.key.protocol()))
		w.number(e.sums.records)
		w.number(e.sums.packets)
		w.number(e.sums.bytes)
		w.end()
	}
}
