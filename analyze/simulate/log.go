package simulate

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"ephemera/ingest/flow"
)

// WriteLog writes the records as one flow log file of text: a header line
// with the fields of the format, and a line for each record.
func (t *Traffic) WriteLog(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<16)
	fields := defaultFields
	if t.Config.Rich {
		fields = richFields
	}
	for i, f := range fields {
		b.WriteString(between(i, f.Name()))
	}
	b.WriteByte('\n')
	for i := range t.Records {
		for k, f := range fields {
			b.WriteString(between(k, value(&t.Records[i], f)))
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// between puts a space before all words of a line but the first.
func between(i int, word string) string {
	if i == 0 {
		return word
	}
	return " " + word
}

// value is a field of a record as a flow log has it.
func value(r *flow.Record, f flow.Field) string {
	if !r.Has.Has(f) {
		return "-"
	}
	switch f {
	case flow.FieldAccountID:
		return r.AccountID
	case flow.FieldInterfaceID:
		return r.InterfaceID
	case flow.FieldVPCID:
		return r.VPCID
	case flow.FieldSubnetID:
		return r.SubnetID
	case flow.FieldInstanceID:
		return r.InstanceID
	case flow.FieldSrcAddr:
		return r.Src.String()
	case flow.FieldDstAddr:
		return r.Dst.String()
	case flow.FieldPktSrcAddr:
		return r.PktSrc.String()
	case flow.FieldPktDstAddr:
		return r.PktDst.String()
	case flow.FieldAction:
		return r.Action.String()
	case flow.FieldLogStatus:
		return r.Status.String()
	case flow.FieldFlowDirection:
		return r.Direction.String()
	}
	return strconv.FormatUint(number(r, f), 10)
}

// number is a field that is a number.
func number(r *flow.Record, f flow.Field) uint64 {
	switch f {
	case flow.FieldVersion:
		return uint64(r.Version)
	case flow.FieldSrcPort:
		return uint64(r.SrcPort)
	case flow.FieldDstPort:
		return uint64(r.DstPort)
	case flow.FieldProtocol:
		return uint64(r.Proto)
	case flow.FieldPackets:
		return r.Packets
	case flow.FieldBytes:
		return r.Bytes
	case flow.FieldStart:
		return uint64(r.Start)
	case flow.FieldEnd:
		return uint64(r.End)
	case flow.FieldTCPFlags:
		return uint64(r.TCPFlags)
	case flow.FieldTrafficPath:
		return uint64(r.TrafficPath)
	}
	panic(fmt.Sprintf("no number: %s", f.Name()))
}
