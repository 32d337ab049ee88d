package digest_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// draw makes records of bytes: fuzzing chooses every value of every field, and
// which are there.
type draw struct{ rest []byte }

func (d *draw) number(bytes int) (n uint64) {
	var b [8]byte
	d.rest = d.rest[copy(b[:bytes], d.rest):]
	return binary.LittleEndian.Uint64(b[:])
}

// time is mostly one of a flow log.
func (d *draw) time() int64 {
	if n := d.number(1); n < 250 {
		return 1795370000 + int64(n)
	}
	return int64(d.number(8))
}

// count is mostly small.
func (d *draw) count() uint64 {
	if n := d.number(1); n < 250 {
		return n
	}
	return d.number(8)
}

func (d *draw) addr() flow.Addr {
	switch d.number(1) % 4 {
	case 0:
		return flow.AddrFrom4(uint32(d.number(4)))
	case 1:
		return flow.AddrFrom4(0x0a000100 | uint32(d.number(1)))
	case 2:
		var a flow.Addr
		b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, d.number(8)), d.number(8))
		if a.UnmarshalBinary(b) != nil {
			panic("an address of 16 bytes is one")
		}
		return a
	}
	return flow.Addr{}
}

func (d *draw) text() string {
	switch n := d.number(1); {
	case n < 100:
		return []string{"eni-0a", "eni-0b", "", "-", "None", "nat-1", "subnet-ä"}[n%7]
	default:
		s := string(d.rest[:min(len(d.rest), int(n%16))])
		d.rest = d.rest[len(s):]
		return s
	}
}

// word is mostly one of the values of the field.
func (d *draw) word() uint8 {
	n := uint8(d.number(1))
	if n < 240 {
		return n % 3
	}
	return n
}

// record's fields agree with Has, as a rule: that is what reading gives.
func (d *draw) record() flow.Record {
	kept := flow.Fields(flow.FieldInterfaceID, flow.FieldResourceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort,
		flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd, flow.FieldAction, flow.FieldLogStatus,
		flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID, flow.FieldTCPFlags, flow.FieldPktSrcAddr, flow.FieldPktDstAddr,
		flow.FieldFlowDirection, flow.FieldRejectReason)
	r := flow.Record{
		Has: flow.FieldSet(d.number(8)) & kept, SrcPort: uint16(d.number(2)), DstPort: uint16(d.number(2)), Proto: flow.Proto(d.number(1)),
		TCPFlags: flow.TCPFlags(d.number(1)), Action: flow.Action(d.word()), Status: flow.LogStatus(d.word()), Direction: flow.Direction(d.word()),
		Packets: d.count(), Bytes: d.count(), Start: d.time(), End: d.time(), Src: d.addr(), Dst: d.addr(), PktSrc: d.addr(), PktDst: d.addr(),
		InterfaceID: d.text(), ResourceID: d.text(), VPCID: d.text(), SubnetID: d.text(), InstanceID: d.text(), RejectReason: d.text(), FlowLogID: "fl-" + d.text(),
	}
	if d.number(1) < 50 {
		r.FlowLogID = d.text()
	}
	if d.number(1) < 240 {
		agree(&r)
	}
	return r
}

// agree takes away what Has says is absent, and from Has what has no value.
func agree(r *flow.Record) {
	zero(r, flow.FieldSrcPort, &r.SrcPort)
	zero(r, flow.FieldDstPort, &r.DstPort)
	zero(r, flow.FieldProtocol, &r.Proto)
	zero(r, flow.FieldTCPFlags, &r.TCPFlags)
	zero(r, flow.FieldAction, &r.Action)
	zero(r, flow.FieldLogStatus, &r.Status)
	zero(r, flow.FieldFlowDirection, &r.Direction)
	zero(r, flow.FieldPackets, &r.Packets)
	zero(r, flow.FieldBytes, &r.Bytes)
	zero(r, flow.FieldStart, &r.Start)
	zero(r, flow.FieldEnd, &r.End)
	zero(r, flow.FieldSrcAddr, &r.Src)
	zero(r, flow.FieldDstAddr, &r.Dst)
	zero(r, flow.FieldPktSrcAddr, &r.PktSrc)
	zero(r, flow.FieldPktDstAddr, &r.PktDst)
	for f, s := range map[flow.Field]*string{
		flow.FieldInterfaceID: &r.InterfaceID, flow.FieldResourceID: &r.ResourceID, flow.FieldVPCID: &r.VPCID,
		flow.FieldSubnetID: &r.SubnetID, flow.FieldInstanceID: &r.InstanceID, flow.FieldRejectReason: &r.RejectReason,
	} {
		zero(r, f, s)
		if *s == "" {
			r.Has &^= flow.Fields(f)
		}
	}
	if r.Action == flow.NoAction {
		r.Has &^= flow.Fields(flow.FieldAction)
	}
	if r.Direction == flow.NoDirection {
		r.Has &^= flow.Fields(flow.FieldFlowDirection)
	}
}

func zero[T any](r *flow.Record, f flow.Field, value *T) {
	if !r.Has.Has(f) {
		*value = *new(T)
	}
}

// readable reports whether a flow log could have given the record: whether
// taking away what disagrees with Has leaves it as it is, and its values are of
// the kinds that fields have.
func readable(r flow.Record) bool {
	agreeing := r
	agree(&agreeing)
	if fmt.Sprintf("%#v", agreeing) != fmt.Sprintf("%#v", r) {
		return false
	}
	for _, s := range []string{r.InterfaceID, r.ResourceID, r.VPCID, r.SubnetID, r.InstanceID, r.RejectReason, r.FlowLogID} {
		if s == "-" || strings.ToValidUTF8(s, "") != s || strings.ContainsFunc(s, func(c rune) bool { return c < 32 || c == 127 }) {
			return false
		}
	}
	return (r.FlowLogID == "" || strings.HasPrefix(r.FlowLogID, "fl-")) && r.Packets <= math.MaxInt64 && r.Bytes <= math.MaxInt64 && 0 <= r.Start && r.Start <= 1e11 && 0 <= r.End && r.End <= 1e11 &&
		r.Action <= flow.Reject && r.Status <= flow.SkipData && r.Direction <= flow.Egress
}

// FuzzRecords writes any records: they come back, or they are refused.
func FuzzRecords(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{0, 10, 100, 1000, 5000} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := draw{b}
		var want steps
		for n := 0; len(d.rest) > 0 && n < 200; n++ {
			r := d.record()
			if !readable(r) {
				one := steps{records: []flow.Record{r}}
				if _, err := digest.Write(io.Discard, one.stream); err == nil || !strings.Contains(err.Error(), "a record ") {
					t.Fatalf("%+v was not refused: %v", r, err)
				}
				continue
			}
			want.records = append(want.records, r)
		}
		file, _ := write(t, want)
		got := read(file)
		if len(got.errs) > 0 || !slices.Equal(got.sorted(), want.sorted()) {
			t.Fatalf("%d records came back, want %d: %s\n%v", len(got.records), len(want.records), difference(got.sorted(), want.sorted()), got.errs)
		}
	})
}
