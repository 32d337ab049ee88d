package digest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"ephemera/ingest/flow"
)

// groupRows is how many rows a row group has. They are in memory at a time,
// some 30 MB, and share the dictionaries of addresses.
const groupRows = 1 << 16

// Write writes the digest of what records gives, which was read from the
// sources of. A record that could not be read, and an object that could not be
// read to its end, are noted in it; any other error of the stream is returned,
// and what was written until then is no digest.
//
// Merged records are written if one of the sources is a digest by its name;
// else they are an error.
func Write(w io.Writer, records iter.Seq2[*flow.Record, error], of ...Source) (Summary, error) {
	merged := slices.ContainsFunc(of, func(s Source) bool { return IsName(s.Place) })
	return newWriter(w, merged).write(records, of)
}

func (d *writer) write(records iter.Seq2[*flow.Record, error], of []Source) (Summary, error) {
	d.sum.Sources = of
	for r, err := range records {
		if err == nil {
			err = d.add(r)
		} else {
			err = d.sum.note(err)
		}
		if err != nil {
			return Summary{}, err
		}
	}
	err := d.close()
	return d.sum, err
}

// A writer collects the records of a row group, sorts and writes them.
type writer struct {
	sum   Summary
	group []entry
	order []*entry // of group, sorted
	out   *parquet.GenericWriter[any]
	rows  []parquet.Row
	texts map[string]parquet.Value    // of the row group
	addrs map[flow.Addr]parquet.Value // of the row group, as text

	ifaces map[string]int // numbers of interfaces
	last   struct {       // of ifaces
		id     string
		number int
	}

	columns []column
	merged  bool // MergedColumn is one of them
	// step divides time, in seconds, so that a row group's records end in one
	// step: at is the number of this one's. It does not if zero.
	step, at int64
}

// An entry is a record with what it is sorted by.
type entry struct {
	rec     flow.Record
	tuple   flow.Tuple // canonical
	forward bool
	iface   int // the number of its interface, in the order of appearance
	at      int // its place in the group
}

// A column is a column of the file, and the value that a record has in it; the
// null value if it has none.
type column struct {
	name  string
	node  parquet.Node
	value func(*writer, *flow.Record) parquet.Value
}

// plainColumns are in the order of their names, as Parquet's groups are.
var plainColumns = []column{
	{"action", text, func(w *writer, r *flow.Record) parquet.Value { return w.enumOf(r, flow.FieldAction, r.Action) }},
	{"bytes", number64, func(_ *writer, r *flow.Record) parquet.Value { return int64Of(r, flow.FieldBytes, r.Bytes) }},
	{"dstaddr", text, func(w *writer, r *flow.Record) parquet.Value { return w.addrOf(r, flow.FieldDstAddr, r.Dst) }},
	{"dstport", number32, func(_ *writer, r *flow.Record) parquet.Value { return int32Of(r, flow.FieldDstPort, r.DstPort) }},
	{"end", number64, func(_ *writer, r *flow.Record) parquet.Value { return int64Of(r, flow.FieldEnd, r.End) }},
	{"flow_direction", text, func(w *writer, r *flow.Record) parquet.Value {
		return w.enumOf(r, flow.FieldFlowDirection, r.Direction)
	}},
	{"flow_log_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.FlowLogID) }},
	{"instance_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.InstanceID) }},
	{"interface_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.InterfaceID) }},
	{"log_status", text, func(w *writer, r *flow.Record) parquet.Value { return w.enumOf(r, flow.FieldLogStatus, r.Status) }},
	{"packets", number64, func(_ *writer, r *flow.Record) parquet.Value { return int64Of(r, flow.FieldPackets, r.Packets) }},
	{"pkt_dstaddr", text, func(w *writer, r *flow.Record) parquet.Value { return w.addrOf(r, flow.FieldPktDstAddr, r.PktDst) }},
	{"pkt_srcaddr", text, func(w *writer, r *flow.Record) parquet.Value { return w.addrOf(r, flow.FieldPktSrcAddr, r.PktSrc) }},
	{"protocol", small, func(_ *writer, r *flow.Record) parquet.Value { return int32Of(r, flow.FieldProtocol, r.Proto) }},
	{"reject_reason", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.RejectReason) }},
	{"resource_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.ResourceID) }},
	{"srcaddr", text, func(w *writer, r *flow.Record) parquet.Value { return w.addrOf(r, flow.FieldSrcAddr, r.Src) }},
	{"srcport", number32, func(_ *writer, r *flow.Record) parquet.Value { return int32Of(r, flow.FieldSrcPort, r.SrcPort) }},
	{"start", number64, func(_ *writer, r *flow.Record) parquet.Value { return int64Of(r, flow.FieldStart, r.Start) }},
	{"subnet_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.SubnetID) }},
	{"tcp_flags", small, func(_ *writer, r *flow.Record) parquet.Value { return int32Of(r, flow.FieldTCPFlags, r.TCPFlags) }},
	{"vpc_id", text, func(w *writer, r *flow.Record) parquet.Value { return w.textOf(r.VPCID) }},
}

// The kinds of columns. Numbers of few values and texts go by a dictionary;
// those of many by their differences, which are small behind the sorting.
var (
	text     = parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
	small    = parquet.Optional(parquet.Encoded(parquet.Int(32), &parquet.RLEDictionary))
	number32 = parquet.Optional(parquet.Encoded(parquet.Int(32), &parquet.DeltaBinaryPacked))
	number64 = parquet.Optional(parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked))
)

// mergedColumn is the one of MergedColumn.
var mergedColumn = column{"merged_records", small, func(_ *writer, r *flow.Record) parquet.Value {
	if r.Merged == 0 {
		return parquet.NullValue()
	}
	return parquet.Int32Value(int32(r.Merged))
}}

// columnsOf returns the columns of a digest, in order.
func columnsOf(merged bool) []column {
	if !merged {
		return plainColumns
	}
	return slices.SortedFunc(slices.Values(append(slices.Clip(plainColumns), mergedColumn)),
		func(a, b column) int { return cmp.Compare(a.name, b.name) })
}

func schema(columns []column) *parquet.Schema {
	group := parquet.Group{}
	for _, c := range columns {
		group[c.name] = c.node
	}
	return parquet.NewSchema("digest", group)
}

// writtenRows is how many rows are handed to parquet-go at once.
const writtenRows = 1024

func newWriter(w io.Writer, merged bool) *writer {
	version, columns := versionPlain, columnsOf(merged)
	if merged {
		version = versionMerged
	}
	return &writer{
		sum: Summary{Version: version}, columns: columns, merged: merged,
		out: parquet.NewGenericWriter[any](w, schema(columns),
			parquet.CreatedBy("ephemera", "digest", "1"),
			parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}),
		),
		rows: make([]parquet.Row, writtenRows), texts: map[string]parquet.Value{}, addrs: map[flow.Addr]parquet.Value{}, ifaces: map[string]int{},
	}
}

func (d *writer) add(r *flow.Record) error {
	if err := check(r); err != nil {
		return err
	}
	n := 1 + int64(r.Merged)
	switch r.Status {
	case flow.NoData:
		d.sum.NoData += n
	case flow.SkipData:
		d.sum.SkipData += n
	default:
		d.sum.Records += n
	}
	if d.merged {
		d.sum.Rows++
	} else if r.Merged > 0 {
		return errMerged
	}
	if r.Start != 0 && (d.sum.Start == 0 || r.Start < d.sum.Start) {
		d.sum.Start = r.Start
	}
	d.sum.End = max(d.sum.End, r.End)
	if err := d.keepStep(r.End); err != nil {
		return err
	}

	if cap(d.group) > len(d.group) {
		d.group = d.group[:len(d.group)+1]
	} else {
		d.group = append(d.group, entry{})
	}
	e := &d.group[len(d.group)-1]
	e.rec, e.iface, e.at = *r, d.number(r.Interface()), len(d.group)
	e.tuple, e.forward = r.HeaderTuple().Canonical()
	if len(d.group) == groupRows {
		return d.flush()
	}
	return nil
}

var errMerged = errors.New("a digest with merged records has a name that is not a digest's; call it ..." + Suffix)

// keepStep ends the row group before a record that ends in another step.
func (d *writer) keepStep(end int64) error {
	if d.step == 0 || end/d.step == d.at {
		return nil
	}
	d.at = end / d.step
	if len(d.group) == 0 {
		return nil
	}
	return d.flush()
}

// number numbers interfaces. The last one is the likeliest.
func (d *writer) number(id string) int {
	if id == d.last.id {
		return d.last.number
	}
	n, known := d.ifaces[id]
	if !known {
		n = len(d.ifaces) + 1
		d.ifaces[id] = n
	}
	d.last.id, d.last.number = id, n
	return n
}

// flush writes a row group.
func (d *writer) flush() error {
	d.order = d.order[:0]
	for i := range d.group {
		d.order = append(d.order, &d.group[i])
	}
	slices.SortFunc(d.order, compareEntries)
	for chunk := range slices.Chunk(d.order, writtenRows) {
		for i, e := range chunk {
			d.rows[i] = d.fill(d.rows[i], &e.rec)
		}
		if _, err := d.out.WriteRows(d.rows[:len(chunk)]); err != nil {
			return err
		}
	}
	d.group = d.group[:0]
	clear(d.texts)
	clear(d.addrs)
	return d.out.Flush()
}

// compareEntries puts the records of one connection at one interface one
// behind the other, so that a column's values are mostly those of the row
// before.
func compareEntries(a, b *entry) int {
	if a.iface != b.iface {
		return a.iface - b.iface
	}
	if c := a.tuple.Compare(b.tuple); c != 0 {
		return c
	}
	if a.forward != b.forward {
		if a.forward {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.rec.Start, b.rec.Start), cmp.Compare(a.rec.End, b.rec.End), a.at-b.at)
}

// fill makes a row of a record.
func (d *writer) fill(row parquet.Row, r *flow.Record) parquet.Row {
	row = row[:0]
	for i := range d.columns {
		v := d.columns[i].value(d, r)
		level := 1
		if v.IsNull() {
			level = 0
		}
		row = append(row, v.Level(0, level, i))
	}
	return row
}

// textOf keeps the values of a row group, so that one does not cost memory of
// its own for every row.
func (d *writer) textOf(s string) parquet.Value {
	if s == "" {
		return parquet.NullValue()
	}
	v, known := d.texts[s]
	if !known {
		v = parquet.ValueOf(s)
		d.texts[s] = v
	}
	return v
}

func int32Of[T ~uint8 | ~uint16](r *flow.Record, f flow.Field, n T) parquet.Value {
	if !r.Has.Has(f) {
		return parquet.NullValue()
	}
	return parquet.Int32Value(int32(n))
}

func int64Of[T int64 | uint64](r *flow.Record, f flow.Field, n T) parquet.Value {
	if !r.Has.Has(f) {
		return parquet.NullValue()
	}
	return parquet.Int64Value(int64(n))
}

func (d *writer) enumOf(r *flow.Record, f flow.Field, v fmt.Stringer) parquet.Value {
	if !r.Has.Has(f) {
		return parquet.NullValue()
	}
	return d.textOf(v.String())
}

func (d *writer) addrOf(r *flow.Record, f flow.Field, a flow.Addr) parquet.Value {
	if !r.Has.Has(f) {
		return parquet.NullValue()
	}
	v, known := d.addrs[a]
	if !known {
		text := "::" // the one address that is like none
		if a.IsValid() {
			text = a.String()
		}
		v = parquet.ValueOf(text)
		d.addrs[a] = v
	}
	return v
}

// close writes the last row group and the footer.
func (d *writer) close() error {
	if len(d.group) > 0 {
		if err := d.flush(); err != nil {
			return err
		}
	}
	value, err := json.Marshal(&d.sum)
	if err != nil {
		return err
	}
	d.out.SetKeyValueMetadata(MetadataKey, string(value))
	return d.out.Close()
}
