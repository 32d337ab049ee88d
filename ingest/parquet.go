package ingest

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// Parquet decodes r, one flow log in Parquet of the given size, as AWS
// writes it or as Athena, Spark, pandas, DuckDB and others make it of one.
// Errors call it place. The same record gives the same flow.Record as in
// text.
//
// Columns are found by name, with hyphens or underscores; only the wanted
// ones are read, a page of each at a time, so that memory depends neither on
// the size of the object nor on that of its row groups. The last 64 KiB are
// read at once, for the footer; from the rest no byte of another column is
// asked for. With opts.From or opts.To, row groups are skipped whose
// statistics show that no record in them is inside, and bad records in them
// are not reported then.
//
// Null, "", "-" and "None" all mean that the field is absent, which is an
// error for srcaddr, dstaddr, protocol, start and end in a record of
// log-status OK; in a digest neither "None" is, nor is that an error. A value
// that cannot be read yields a *flow.RecordError,
// whose Line is the number of the row, from 1. A file that is no flow log,
// that is encrypted, or that is damaged yields a *flow.ObjectError and ends
// the stream; records in front of the damage are yielded.
//
// Files of Amazon Security Lake are told by their columns and are translated
// back, as far as their mapping is certain: see ocsfReader. Behind the records
// of a digest come the errors that reading its objects gave: see package
// digest. Not safe for concurrent use.
func Parquet(r io.ReaderAt, size int64, place string, opts Options) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		d := newParquetDecoder(&opts)
		defer d.close()
		d.reset(r, size, place)
		yieldAll(d, yield)
	}
}

// parquetDecoder reads the records of one object, one at a time. It is reused
// for further objects, so that its buffers and strings are.
//
// Rows are put together in blocks: each column decodes its values of the next
// rows into an array, whatever the bounds of its pages, and a record takes one
// element of each.
type parquetDecoder struct {
	// values has the parts that do not depend on how a record is stored:
	// the time window, the strings, and the extra fields.
	values *textDecoder

	src    tailReader
	footer *footer // nil before the first record
	plan   *plan
	ocsf   *ocsfReader // nil where the columns are those of a flow log

	// Of a digest, the columns of flow log IDs and of merged records, if there
	// are such, and what was wrong with its objects, which comes behind its
	// records.
	flowLogs *parquetColumn
	merged   *parquetColumn
	told     func() (error, bool)
	stop     func()

	columns []*parquetColumn // of the plan, those that are read
	rows    rows             // of the block
	spare   []*parquetColumn // of earlier objects, for their buffers
	pages   pageBuffers

	group int   // number of the next row group
	left  int64 // rows of the row group that are in no block yet
	row   int64 // number of the last row that was looked at
	block int   // rows in the block
	at    int   // of which so many have been looked at
	err   error // what comes behind the block
}

// blockRows is how many rows are put together at a time: few enough that all
// columns of a block stay in the processor's cache.
const blockRows = 512

func newParquetDecoder(opts *Options) *parquetDecoder {
	return &parquetDecoder{values: newTextDecoder(opts), err: io.EOF}
}

// reset makes d read the object r.
func (d *parquetDecoder) reset(r io.ReaderAt, size int64, place string) {
	d.close()
	v := d.values
	v.place, v.flowLogID, v.records = place, flowLogID(place), 0
	d.src = tailReader{r: r, size: size, tail: d.src.tail[:0]}
	d.group, d.left, d.row, d.block, d.at, d.err = 0, 0, 0, 0, 0, nil
}

// close lets go of the object. What follows is io.EOF until the next reset.
func (d *parquetDecoder) close() {
	for _, c := range d.columns {
		c.release()
	}
	d.spare = append(d.spare, d.columns...)
	d.columns = d.columns[:0]
	d.src.r = nil
	d.footer, d.plan, d.ocsf, d.flowLogs, d.merged = nil, nil, nil, nil, nil
	if d.stop != nil {
		d.stop()
	}
	d.told, d.stop = nil, nil
	d.rows.reset()
	d.block, d.at, d.err = 0, 0, io.EOF
}

// next reads the next record inside the time window into r. After an error
// r is not valid. A *flow.RecordError may be followed by more; io.EOF is the
// end, and follows a *flow.ObjectError.
func (d *parquetDecoder) next(r *flow.Record) error {
	for {
		if d.at == d.block {
			err := d.fill()
			if err == nil {
				continue
			}
			if err == io.EOF && d.told != nil {
				if told, more := d.told(); more {
					return told
				}
			}
			return d.end(err)
		}
		i := d.at
		d.at++
		d.row++
		field, err := d.record(r, i)
		if err != nil {
			return d.notRecord(r, field, err)
		}
		if d.values.inWindow(r) {
			d.values.records++
			return nil
		}
	}
}

// end ends the object, with an error unless it was read to its end.
func (d *parquetDecoder) end(err error) error {
	place, records := d.values.place, d.values.records
	d.close()
	if err == io.EOF {
		return io.EOF
	}
	return objectError(place, records, err)
}

// notRecord reports a row that does not read as a record, or ends the object
// when the row shows that this is no flow log.
func (d *parquetDecoder) notRecord(r *flow.Record, field string, err error) error {
	var object *flow.ObjectError
	if errors.As(err, &object) {
		return d.end(err)
	}
	return &flow.RecordError{
		Place: d.values.place, Line: int(d.row), Field: field, Err: err,
		Text: clip(d.plan.format.AppendRecord(nil, r)),
	}
}

// fill reads the next block of rows, and before the first one the footer.
//
// This is the one place where panics are caught: the Thrift decoder of
// parquet-go and the decompressors run below it, on bytes that anybody may
// have written. A panic there is a damaged file, and the object ends.
func (d *parquetDecoder) fill() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged("reading it failed with %q", fmt.Sprint(p))
		}
	}()
	if d.err != nil {
		return d.err
	}
	if d.footer == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	if d.left == 0 {
		if err := d.openGroup(); err != nil {
			return err
		}
	}
	d.at, d.block = 0, int(min(d.left, blockRows))
	for _, c := range d.columns {
		n, err := c.fill(d.block)
		if err != nil {
			d.block, d.err = n, d.inColumn(c, err)
		}
	}
	d.left -= int64(d.block)
	if d.ocsf == nil {
		d.rows.gather(d.columns, d.block)
	}
	return nil
}

// open reads the footer and decides what to read.
func (d *parquetDecoder) open() error {
	f, err := readFooter(&d.src)
	if err != nil {
		return err
	}
	if isOCSF(f) {
		if d.ocsf, err = newOCSFReader(d, f); err != nil {
			return notFlowLog(err)
		}
	} else if err := d.useColumns(f); err != nil {
		return notFlowLog(err)
	}
	d.footer = f
	return d.openDigest(f)
}

// openDigest reads what a digest has besides records.
func (d *parquetDecoder) openDigest(f *footer) error {
	sum, err := f.digest()
	if err != nil {
		return notFlowLog(err)
	}
	if sum == nil || d.ocsf != nil {
		return nil
	}
	d.plan.needed = 0 // it has columns for fields that its objects left out
	for _, c := range d.columns {
		c.literal = true
	}
	d.told, d.stop = iter.Pull(sum.Errors)
	d.flowLogs, err = d.addOwn(f, digest.FlowLogColumn, valueRules{kind: kindText})
	if err == nil {
		d.merged, err = d.addOwn(f, digest.MergedColumn, valueRules{kind: kindNumber, limit: math.MaxInt32})
	}
	return err
}

// addOwn makes a column of one that only digests have; nil when this one does
// not.
func (d *parquetDecoder) addOwn(f *footer, name string, rules valueRules) (*parquetColumn, error) {
	leaves, names := f.flat()
	i := slices.Index(hyphened(names), name)
	if i < 0 {
		return nil, nil
	}
	return d.add(f, leaves[i], column{name: name, read: keep}, rules)
}

// useColumns makes the plan for a file whose columns are those of a flow log.
func (d *parquetDecoder) useColumns(f *footer) error {
	leaves, names := f.flat()
	format, err := flatFormat(names)
	if err != nil {
		return err
	}
	opts := &d.values.opts
	if d.plan, err = newPlan(format, opts.wanted(), opts.KeepUnknown); err != nil {
		return err
	}
	for i := range d.plan.columns {
		p := &d.plan.columns[i]
		if p.read == keep && leaves[i].unreadable(kindText) != "" {
			p.read = skip
		}
		if p.read == skip {
			continue
		}
		c, err := d.add(f, leaves[i], *p, rulesOf(*p))
		if err != nil {
			return err
		}
		if c != nil {
			d.rows.use(c)
		}
	}
	if len(d.columns) == 0 {
		return errors.New("none of the fields that are asked for is a column; give logs that have them")
	}
	return nil
}

// flatFormat makes a Format of the names of columns, and refuses what cannot
// be a flow log of a VPC.
func flatFormat(names []string) (Format, error) {
	known := flow.FieldSet(0)
	for _, name := range names {
		if f, ok := flow.FieldNamed(name); ok {
			known |= flow.Fields(f)
		}
	}
	if err := (Format{hyphened(names)}).check(); err != nil {
		return Format{}, err
	}
	if known&endpointFields == 0 {
		return Format{}, fmt.Errorf("not a flow log: its columns are %s, where a flow log has srcaddr, dstaddr or interface_id",
			clip(fmt.Appendf(nil, "%q", names)))
	}
	return newFormat(names)
}

// endpointFields are the fields of which a flow log has one at least.
var endpointFields = flow.Fields(flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldPktSrcAddr,
	flow.FieldPktDstAddr, flow.FieldInterfaceID, flow.FieldResourceID)

// add makes a column out of a leaf of the schema. It returns nil when the
// leaf has no values: writers give columns that are always null any type.
func (d *parquetDecoder) add(f *footer, l *leaf, p column, rules valueRules) (*parquetColumn, error) {
	if why := l.unreadable(rules.kind); why != "" {
		if f.isNull(l) {
			return nil, nil
		}
		return nil, fmt.Errorf("column %s is %s, which a flow log's %s is not; write the file with numbers as INT32 or INT64, and the rest as strings",
			l.name(), why, p.name)
	}
	var c *parquetColumn
	if n := len(d.spare); n > 0 {
		c, d.spare = d.spare[n-1], d.spare[:n-1]
	} else {
		c = &parquetColumn{number: len(d.columns), names: &d.values.names, pages: &d.pages}
	}
	c.use(l, p, rules)
	d.columns = append(d.columns, c)
	return c, nil
}

// openGroup goes to the next row group that can hold wanted records.
func (d *parquetDecoder) openGroup() error {
	for ; d.group < len(d.footer.RowGroups); d.group++ {
		g := &d.footer.RowGroups[d.group]
		if d.isOutside(g) {
			d.row += g.NumRows
			continue
		}
		if g.NumRows == 0 {
			continue
		}
		for _, c := range d.columns {
			if err := c.open(&d.src, g); err != nil {
				d.group++
				return d.inColumn(c, err)
			}
		}
		d.group++
		d.left = g.NumRows
		return nil
	}
	return io.EOF
}

// inColumn tells where in the file err occurred.
func (d *parquetDecoder) inColumn(c *parquetColumn, err error) error {
	return fmt.Errorf("row group %d, column %s: %w", d.group, c.leaf.name(), err)
}

// record puts row i of the block together, and leaves nothing in r of what
// was there before. With an error it names the field, if it was one field; r
// has the fields that could be read.
func (d *parquetDecoder) record(r *flow.Record, i int) (field string, err error) {
	if d.ocsf != nil {
		*r = flow.Record{FlowLogID: d.values.flowLogID}
		d.values.kept = 0
		return d.ocsf.record(r, i)
	}
	d.rows.record(r, i)
	r.FlowLogID = d.values.flowLogID
	if d.flowLogs != nil {
		r.FlowLogID = d.flowLogs.cells.strs[i]
	}
	r.Merged = 0
	if d.merged != nil {
		r.Merged = uint32(d.merged.cells.nums[i])
	}
	if len(d.rows.extra) > 0 {
		d.keepExtras(r, i)
	}
	if d.rows.bad {
		field, err = d.badCell(i)
	}
	if absent := d.plan.needed &^ r.Has; err == nil && absent != 0 && r.Status == flow.OK {
		return d.plan.missing(absent), errAbsent
	}
	return field, err
}

// keepExtras adds the fields of row i that have no place of their own in r.
func (d *parquetDecoder) keepExtras(r *flow.Record, i int) {
	d.values.kept = 0
	for _, c := range d.rows.extra {
		if c.cells.state[i] == present {
			d.set(r, c, i)
		}
	}
	r.Extra = d.values.takeExtra()
}

// badCell returns the first error in row i, and its field.
func (d *parquetDecoder) badCell(i int) (field string, err error) {
	for _, c := range d.columns {
		if c.cells.state[i] == bad {
			return c.column.name, c.cells.errs[i]
		}
	}
	return "", nil
}

var errAbsent = errors.New(`"-" in a record of log-status OK`)

// set stores element i of c, which is present, in r.
func (d *parquetDecoder) set(r *flow.Record, c *parquetColumn, i int) {
	if c.column.read == keep {
		d.values.keepExtra(c.column.name, c.cells.strs[i])
		return
	}
	r.Has |= 1 << c.column.field
	switch c.rules.kind {
	case kindAddr:
		setAddr(r, c.column.field, c.cells.addrs[i])
	case kindText:
		d.setText(r, c.column.field, c.cells.strs[i])
	default:
		setNumber(r, c.column.field, c.cells.nums[i])
	}
}

func setAddr(r *flow.Record, f flow.Field, a flow.Addr) {
	switch f {
	case flow.FieldSrcAddr:
		r.Src = a
	case flow.FieldDstAddr:
		r.Dst = a
	case flow.FieldPktSrcAddr:
		r.PktSrc = a
	case flow.FieldPktDstAddr:
		r.PktDst = a
	}
}

// setNumber stores n, which is in range, in the field f.
func setNumber(r *flow.Record, f flow.Field, n uint64) {
	switch f {
	case flow.FieldVersion:
		r.Version = uint8(n)
	case flow.FieldSrcPort:
		r.SrcPort = uint16(n)
	case flow.FieldDstPort:
		r.DstPort = uint16(n)
	case flow.FieldProtocol:
		r.Proto = flow.Proto(n)
	case flow.FieldPackets:
		r.Packets = n
	case flow.FieldBytes:
		r.Bytes = n
	case flow.FieldStart:
		r.Start = int64(n)
	case flow.FieldEnd:
		r.End = int64(n)
	case flow.FieldAction:
		r.Action = flow.Action(n)
	case flow.FieldLogStatus:
		r.Status = flow.LogStatus(n)
	case flow.FieldTCPFlags:
		r.TCPFlags = flow.TCPFlags(n)
	case flow.FieldFlowDirection:
		r.Direction = flow.Direction(n)
	case flow.FieldTrafficPath:
		r.TrafficPath = uint8(n)
	}
}

func (d *parquetDecoder) setText(r *flow.Record, f flow.Field, s string) {
	switch f {
	case flow.FieldAccountID:
		r.AccountID = s
	case flow.FieldInterfaceID:
		r.InterfaceID = s
	case flow.FieldVPCID:
		r.VPCID = s
	case flow.FieldSubnetID:
		r.SubnetID = s
	case flow.FieldInstanceID:
		r.InstanceID = s
	case flow.FieldRegion:
		r.Region = s
	case flow.FieldAZID:
		r.AZID = s
	case flow.FieldRejectReason:
		r.RejectReason = s
	case flow.FieldResourceID:
		r.ResourceID = s
	default:
		d.values.keepExtra(f.Name(), s)
	}
}
