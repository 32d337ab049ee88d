package ingest

import (
	"strconv"

	"ephemera/ingest/flow"
)

// AppendRecord appends r to dst as a line of the format, without a line end:
// the inverse of reading it. Absent fields become "-". Times are written in
// seconds, also where they were read in milliseconds.
func (f Format) AppendRecord(dst []byte, r *flow.Record) []byte {
	for i, name := range f.names {
		if i > 0 {
			dst = append(dst, ' ')
		}
		field, known := flow.FieldNamed(name)
		switch {
		case !known:
			dst = append(dst, extra(r, name)...)
		case !r.Has.Has(field):
			dst = append(dst, '-')
		default:
			dst = appendField(dst, r, field)
		}
	}
	return dst
}

// appendField is the inverse of textDecoder.setField.
func appendField(dst []byte, r *flow.Record, f flow.Field) []byte {
	switch f {
	case flow.FieldVersion:
		return appendNumber(dst, r.Version)
	case flow.FieldAccountID:
		return append(dst, r.AccountID...)
	case flow.FieldInterfaceID:
		return append(dst, r.InterfaceID...)
	case flow.FieldSrcAddr:
		return appendAddr(dst, r.Src)
	case flow.FieldDstAddr:
		return appendAddr(dst, r.Dst)
	case flow.FieldSrcPort:
		return appendNumber(dst, r.SrcPort)
	case flow.FieldDstPort:
		return appendNumber(dst, r.DstPort)
	case flow.FieldProtocol:
		return appendNumber(dst, r.Proto)
	case flow.FieldPackets:
		return appendNumber(dst, r.Packets)
	case flow.FieldBytes:
		return appendNumber(dst, r.Bytes)
	case flow.FieldStart:
		return strconv.AppendInt(dst, r.Start, 10)
	case flow.FieldEnd:
		return strconv.AppendInt(dst, r.End, 10)
	case flow.FieldAction:
		return append(dst, r.Action.String()...)
	case flow.FieldLogStatus:
		return append(dst, r.Status.String()...)
	case flow.FieldVPCID:
		return append(dst, r.VPCID...)
	case flow.FieldSubnetID:
		return append(dst, r.SubnetID...)
	case flow.FieldInstanceID:
		return append(dst, r.InstanceID...)
	case flow.FieldTCPFlags:
		return appendNumber(dst, r.TCPFlags)
	case flow.FieldPktSrcAddr:
		return appendAddr(dst, r.PktSrc)
	case flow.FieldPktDstAddr:
		return appendAddr(dst, r.PktDst)
	case flow.FieldRegion:
		return append(dst, r.Region...)
	case flow.FieldAZID:
		return append(dst, r.AZID...)
	case flow.FieldFlowDirection:
		return append(dst, r.Direction.String()...)
	case flow.FieldTrafficPath:
		return appendNumber(dst, r.TrafficPath)
	case flow.FieldRejectReason:
		return append(dst, r.RejectReason...)
	case flow.FieldResourceID:
		return append(dst, r.ResourceID...)
	}
	return append(dst, extra(r, f.Name())...)
}

// extra returns a field's value among those kept by name, or "-".
func extra(r *flow.Record, name string) string {
	for _, x := range r.Extra {
		if x.Name == name {
			return x.Value
		}
	}
	return "-"
}

func appendNumber[T ~uint8 | ~uint16 | ~uint64](dst []byte, n T) []byte {
	return strconv.AppendUint(dst, uint64(n), 10)
}

// appendAddr writes the zero Addr as "::", the one address it can stand for
// in a record that has the field.
func appendAddr(dst []byte, a flow.Addr) []byte {
	if !a.IsValid() {
		return append(dst, "::"...)
	}
	return a.Netip().AppendTo(dst)
}
