package digest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"ephemera/ingest/flow"
)

// maxTime is the latest time that a reader takes for seconds.
const maxTime = 100_000_000_000

// check refuses a record that no flow log holds, since its digest would read as
// another one. What was read from a flow log passes.
func check(r *flow.Record) error {
	switch {
	case max(r.Packets, r.Bytes) > math.MaxInt64:
		return fmt.Errorf("a record of %d packets and %d bytes: no flow log holds as many", r.Packets, r.Bytes)
	case min(r.Start, r.End) < 0, max(r.Start, r.End) > maxTime:
		return fmt.Errorf("a record from %d to %d: no flow log holds these times", r.Start, r.End)
	case r.Action > flow.Reject, r.Status > flow.SkipData, r.Direction > flow.Egress,
		r.Has.Has(flow.FieldAction) && r.Action == flow.NoAction,
		r.Has.Has(flow.FieldFlowDirection) && r.Direction == flow.NoDirection:
		return fmt.Errorf("a record of action %d, log status %d and direction %d: no flow log holds these", uint8(r.Action), uint8(r.Status), uint8(r.Direction))
	case hasAbsent(r):
		return errors.New("a record has a value in a field that it says is absent")
	}
	return checkTexts(r)
}

// hasAbsent reports whether a field that is absent has a value.
func hasAbsent(r *flow.Record) bool {
	for _, f := range [...]struct {
		field flow.Field
		value bool
	}{
		{flow.FieldSrcAddr, r.Src.IsValid()}, {flow.FieldDstAddr, r.Dst.IsValid()},
		{flow.FieldPktSrcAddr, r.PktSrc.IsValid()}, {flow.FieldPktDstAddr, r.PktDst.IsValid()},
		{flow.FieldSrcPort, r.SrcPort != 0}, {flow.FieldDstPort, r.DstPort != 0}, {flow.FieldProtocol, r.Proto != 0},
		{flow.FieldTCPFlags, r.TCPFlags != 0}, {flow.FieldPackets, r.Packets != 0}, {flow.FieldBytes, r.Bytes != 0},
		{flow.FieldStart, r.Start != 0}, {flow.FieldEnd, r.End != 0}, {flow.FieldAction, r.Action != flow.NoAction},
		{flow.FieldLogStatus, r.Status != flow.OK}, {flow.FieldFlowDirection, r.Direction != flow.NoDirection},
	} {
		if f.value && !r.Has.Has(f.field) {
			return true
		}
	}
	return false
}

// checkTexts refuses texts that stand for an absent field or do not print.
func checkTexts(r *flow.Record) error {
	for _, f := range [...]struct {
		field flow.Field
		text  string
	}{
		{flow.FieldInterfaceID, r.InterfaceID}, {flow.FieldResourceID, r.ResourceID}, {flow.FieldVPCID, r.VPCID},
		{flow.FieldSubnetID, r.SubnetID}, {flow.FieldInstanceID, r.InstanceID}, {flow.FieldRejectReason, r.RejectReason},
	} {
		if r.Has.Has(f.field) != (f.text != "") || f.text == "-" || !prints(f.text) {
			return fmt.Errorf("a record with %s %q: no flow log holds it", f.field.Name(), f.text)
		}
	}
	if r.FlowLogID != "" && !strings.HasPrefix(r.FlowLogID, "fl-") || !prints(r.FlowLogID) {
		return fmt.Errorf("a record of flow log %q: no flow log has this ID; give its object another name", r.FlowLogID)
	}
	return nil
}

func prints(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
