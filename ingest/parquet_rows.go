package ingest

import (
	"encoding/binary"

	"ephemera/ingest/flow"
)

// rows puts the records of a block together, of columns that hold one field
// each.
//
// A record is written whole, field by field, without asking which columns the
// file has: a field without a column is read from an array of zeros. That
// takes a fifth of the time of going through the columns and finding the
// place of each in the record, since no branch depends on the column.
type rows struct {
	// nums, addrs and texts are the cells of the columns, by field; whose
	// kind is another have no use in them.
	nums  [flow.NumFields]*[blockRows]uint64
	addrs [flow.NumFields]*[blockRows]flow.Addr
	texts [flow.NumFields]*[blockRows]string

	extra []*parquetColumn // those of Record.Extra

	has [blockRows]flow.FieldSet // of each row of the block
	bad bool                     // there are bad cells in the block
}

// What fields without a column are read from.
var (
	noNums  [blockRows]uint64
	noAddrs [blockRows]flow.Addr
	noTexts [blockRows]string
)

// reset lets go of all columns.
func (b *rows) reset() {
	for f := range flow.NumFields {
		b.nums[f], b.addrs[f], b.texts[f] = &noNums, &noAddrs, &noTexts
	}
	clear(b.extra)
	b.extra = b.extra[:0]
}

// use makes the cells of c those of its field.
func (b *rows) use(c *parquetColumn) {
	kind, field := c.rules.kind, c.column.field
	if c.column.read == keep || kind == kindText && !ownText.Has(field) {
		b.extra = append(b.extra, c)
		return
	}
	c.cells.stagger(c.number, kind)
	switch kind {
	case kindAddr:
		b.addrs[field] = (*[blockRows]flow.Addr)(c.cells.addrs)
	case kindText:
		b.texts[field] = (*[blockRows]string)(c.cells.strs)
	default:
		b.nums[field] = (*[blockRows]uint64)(c.cells.nums)
	}
}

// stagger makes room for a block in cells that have too little, those of the
// column with the given number. It begins on another cache line of a page of
// memory for each column: else row i of all columns would fall into the same
// set of the processor's cache, which holds eight, and rows.record, which
// reads one row of all columns, took three times as long.
func (c *cells) stagger(number int, kind valueKind) {
	skip := number % 64 * 8
	switch kind {
	case kindAddr:
		c.addrs = staggered(c.addrs, skip)
	case kindText:
		c.strs = staggered(c.strs, skip)
	default:
		c.nums = staggered(c.nums, skip)
	}
	c.resize(blockRows, kind)
}

func staggered[T any](values []T, skip int) []T {
	if cap(values) >= blockRows {
		return values
	}
	return make([]T, skip+blockRows)[skip:]
}

// ownText are the fields of text that have a place of their own in a record.
var ownText = flow.Fields(flow.FieldAccountID, flow.FieldInterfaceID, flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID,
	flow.FieldRegion, flow.FieldAZID, flow.FieldRejectReason, flow.FieldResourceID)

// gather looks at which of the n rows that the columns have read have which
// fields.
func (b *rows) gather(columns []*parquetColumn, n int) {
	b.bad = false
	fields := flow.FieldSet(0)
	for _, c := range columns {
		b.bad = b.bad || len(c.cells.errs) > 0
		if c.column.read != keep {
			fields |= flow.Fields(c.column.field)
		}
	}
	for i := range b.has[:n] {
		b.has[i] = fields
	}
	for _, c := range columns {
		if c.column.read != keep {
			b.drop(c.column.field, c.cells.state[:n])
		}
	}
}

// drop removes a field from the rows in which it is not present. Such rows
// are rare in most columns, so it looks at eight at a time first.
func (b *rows) drop(field flow.Field, state []byte) {
	const all = 0x01010101_01010101 * uint64(present)
	for i := 0; i < len(state); i += 8 {
		if i+8 <= len(state) && binary.LittleEndian.Uint64(state[i:]) == all {
			continue
		}
		for k := i; k < min(i+8, len(state)); k++ {
			b.has[k] &^= flow.FieldSet(^state[k]&present) << field
		}
	}
}

// record writes all of r but what does not come from columns of its own: the
// flow log's ID and extra fields.
func (b *rows) record(r *flow.Record, row int) {
	i := uint(row) % blockRows
	nums, addrs, texts := &b.nums, &b.addrs, &b.texts
	r.Has = b.has[i]
	r.InterfaceID = texts[flow.FieldInterfaceID][i]
	r.ResourceID = texts[flow.FieldResourceID][i]
	r.AccountID = texts[flow.FieldAccountID][i]
	r.VPCID = texts[flow.FieldVPCID][i]
	r.SubnetID = texts[flow.FieldSubnetID][i]
	r.InstanceID = texts[flow.FieldInstanceID][i]
	r.Region = texts[flow.FieldRegion][i]
	r.AZID = texts[flow.FieldAZID][i]
	r.RejectReason = texts[flow.FieldRejectReason][i]
	r.Src = addrs[flow.FieldSrcAddr][i]
	r.Dst = addrs[flow.FieldDstAddr][i]
	r.PktSrc = addrs[flow.FieldPktSrcAddr][i]
	r.PktDst = addrs[flow.FieldPktDstAddr][i]
	r.SrcPort = uint16(nums[flow.FieldSrcPort][i])
	r.DstPort = uint16(nums[flow.FieldDstPort][i])
	r.Proto = flow.Proto(nums[flow.FieldProtocol][i])
	r.TCPFlags = flow.TCPFlags(nums[flow.FieldTCPFlags][i])
	r.Packets = nums[flow.FieldPackets][i]
	r.Bytes = nums[flow.FieldBytes][i]
	r.Start = int64(nums[flow.FieldStart][i])
	r.End = int64(nums[flow.FieldEnd][i])
	r.Action = flow.Action(nums[flow.FieldAction][i])
	r.Status = flow.LogStatus(nums[flow.FieldLogStatus][i])
	r.Direction = flow.Direction(nums[flow.FieldFlowDirection][i])
	r.TrafficPath = uint8(nums[flow.FieldTrafficPath][i])
	r.Version = uint8(nums[flow.FieldVersion][i])
	r.Extra = nil
}
