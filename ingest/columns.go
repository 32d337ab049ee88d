package ingest

import (
	"ephemera/ingest/flow"
)

// plan is how the lines of one format are read. It is made once for a header
// line, so that a line costs no look-up of names.
type plan struct {
	format  Format
	columns []column

	// needed are the fields without which a record of status OK says
	// nothing: whose packets, and when. A format may leave them out; a
	// record of a format that has them may not.
	needed flow.FieldSet

	// fields are those that are decoded, and quick how a line is read
	// quickly, or nil where it cannot be. row is for that.
	fields flow.FieldSet
	quick  []quickColumn
	row    row

	// lax is set when no column would refuse a header line's name as its
	// value, so that a second header line has to be looked for.
	lax bool
}

// column is how one column is read.
type column struct {
	name  string
	field flow.Field
	read  reading
}

type reading uint8

const (
	skip   reading = iota
	decode         // as the known field
	keep           // by name, as a field not known
)

var neededFields = flow.Fields(flow.FieldSrcAddr, flow.FieldDstAddr,
	flow.FieldProtocol, flow.FieldStart, flow.FieldEnd)

// strictFields have values that cannot be the name of a field.
var strictFields = neededFields | flow.Fields(flow.FieldVersion,
	flow.FieldSrcPort, flow.FieldDstPort, flow.FieldPackets, flow.FieldBytes,
	flow.FieldAction, flow.FieldLogStatus, flow.FieldTCPFlags,
	flow.FieldPktSrcAddr, flow.FieldPktDstAddr, flow.FieldFlowDirection,
	flow.FieldTrafficPath)

func newPlan(f Format, want flow.FieldSet, keepUnknown bool) (*plan, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	p := &plan{format: f, columns: make([]column, len(f.names))}
	var decoded flow.FieldSet
	for i, name := range f.names {
		c := &p.columns[i]
		c.name = name
		field, known := flow.FieldNamed(name)
		switch {
		case known && want.Has(field):
			c.read, c.field = decode, field
			decoded |= flow.Fields(field)
		case !known && keepUnknown:
			c.read = keep
		}
	}
	p.needed = decoded & neededFields
	p.lax = decoded&strictFields == 0
	p.fields = decoded
	if !p.lax {
		for _, c := range p.columns {
			p.quick = append(p.quick, c.quick())
		}
	}
	return p, nil
}

// quick is how the column is read quickly.
func (c *column) quick() quickColumn {
	s := quickColumn{field: c.field, name: c.name}
	switch c.read {
	case skip:
		s.read, s.field = aWord, noField
		return s
	case keep:
		s.read, s.field = unknown, noField
		return s
	}
	switch f := c.field; f {
	case flow.FieldVersion:
		s.read, s.limit = aDigit, 255
	case flow.FieldProtocol, flow.FieldTCPFlags, flow.FieldTrafficPath:
		s.read, s.limit = aNumber, 255
	case flow.FieldSrcPort, flow.FieldDstPort:
		s.read, s.limit = aNumber, 65535
	case flow.FieldPackets, flow.FieldBytes:
		s.read, s.limit = aNumber, 1<<63-1
	case flow.FieldStart, flow.FieldEnd:
		s.read = aTime
	case flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldPktSrcAddr, flow.FieldPktDstAddr:
		s.read = anAddress
	case flow.FieldAction:
		s.read = anAction
	case flow.FieldLogStatus:
		s.read = aStatus
	case flow.FieldFlowDirection:
		s.read = aDirection
	case flow.FieldAccountID, flow.FieldInterfaceID, flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID,
		flow.FieldRegion, flow.FieldAZID, flow.FieldRejectReason, flow.FieldResourceID:
		s.read = aName
	default:
		s.read = anExtra
	}
	return s
}

// missing names the first of the fields in s.
func (p *plan) missing(s flow.FieldSet) string {
	for _, c := range p.columns {
		if c.read == decode && s.Has(c.field) {
			return c.name
		}
	}
	return ""
}

// setField stores tok, a value of the known field f and never "-", in r. It
// is a switch, not a table of functions, because it runs a dozen times for
// each record: the calls here are direct, and most are inlined.
func (d *textDecoder) setField(r *flow.Record, f flow.Field, tok []byte) (err error) {
	switch f {
	case flow.FieldVersion:
		r.Version, err = number[uint8](tok)
	case flow.FieldAccountID:
		r.AccountID, err = d.names.field(f, tok)
	case flow.FieldInterfaceID:
		r.InterfaceID, err = d.names.field(f, tok)
	case flow.FieldSrcAddr:
		r.Src, err = address(tok)
	case flow.FieldDstAddr:
		r.Dst, err = address(tok)
	case flow.FieldSrcPort:
		r.SrcPort, err = number[uint16](tok)
	case flow.FieldDstPort:
		r.DstPort, err = number[uint16](tok)
	case flow.FieldProtocol:
		r.Proto, err = number[flow.Proto](tok)
	case flow.FieldPackets:
		r.Packets, err = count(tok)
	case flow.FieldBytes:
		r.Bytes, err = count(tok)
	case flow.FieldStart:
		r.Start, err = unixTime(tok)
	case flow.FieldEnd:
		r.End, err = unixTime(tok)
	case flow.FieldAction:
		r.Action, err = action(tok)
	case flow.FieldLogStatus:
		r.Status, err = logStatus(tok)
	case flow.FieldVPCID:
		r.VPCID, err = d.names.field(f, tok)
	case flow.FieldSubnetID:
		r.SubnetID, err = d.names.field(f, tok)
	case flow.FieldInstanceID:
		r.InstanceID, err = d.names.field(f, tok)
	case flow.FieldTCPFlags:
		r.TCPFlags, err = number[flow.TCPFlags](tok)
	case flow.FieldPktSrcAddr:
		r.PktSrc, err = address(tok)
	case flow.FieldPktDstAddr:
		r.PktDst, err = address(tok)
	case flow.FieldRegion:
		r.Region, err = d.names.field(f, tok)
	case flow.FieldAZID:
		r.AZID, err = d.names.field(f, tok)
	case flow.FieldFlowDirection:
		r.Direction, err = direction(tok)
	case flow.FieldTrafficPath:
		r.TrafficPath, err = number[uint8](tok)
	case flow.FieldRejectReason:
		r.RejectReason, err = d.names.field(f, tok)
	case flow.FieldResourceID:
		r.ResourceID, err = d.names.field(f, tok)
	default:
		var s string
		s, err = d.names.field(f, tok)
		d.keepExtra(f.Name(), s)
	}
	return err
}
