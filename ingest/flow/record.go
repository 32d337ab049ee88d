// Package flow holds the vocabulary of VPC Flow Logs: the flow log record,
// its fields, the five-tuple. It knows nothing of files, of decoding or of
// analysis, and imports the standard library only.
//
// A flow log record describes the packets of one five-tuple, in one
// direction, at one network interface, in one aggregation interval:
//
//	2 123456789012 eni-0a 10.0.1.5 203.0.113.10 40000 21 6 12 712 1795370837 1795370861 ACCEPT OK
//
// Field names, types and versions are those of the VPC User Guide,
// "Flow log records".
package flow

import "fmt"

// Record is one flow log record as AWS wrote it. A field that was "-", or
// that the log format does not have, is zero, and its bit in Has is not set:
// port 0 and TCP flags 0 are values, and differ from absent ones.
//
// A Record handed out by a stream belongs to the producer and is valid until
// the next step; copy the struct to keep it. Its strings may be kept.
//
// The fields stand in the order of how often they are used: of the 304 bytes,
// a record of the default format lies in the first 160, and the cache lines
// behind them are not touched.
type Record struct {
	// Has tells which fields hold a value.
	Has FieldSet

	SrcPort, DstPort uint16
	Proto            Proto
	TCPFlags         TCPFlags
	Action           Action
	Status           LogStatus
	Direction        Direction

	// TrafficPath is how egress traffic leaves: 1 same VPC, 2 internet or
	// gateway endpoint, 3 virtual private gateway, 4 and 5 peering, 6 local
	// gateway, 7 gateway endpoint, 8 internet gateway. 0 when not given.
	TrafficPath uint8

	// Version is the highest version among the fields of the log's format.
	Version uint8

	// Merged is how many further records this one stands for, where a digest
	// has merged what followed each other; 0 in what AWS wrote. Start is then
	// that of the first of them, End that of the last, and packets and bytes
	// are those of all. See package digest.
	Merged uint32

	// Packets and Bytes count what was seen in the aggregation interval.
	// Bytes include IP headers.
	Packets, Bytes uint64

	// Start is when the first, End when the last packet of the flow was
	// seen within the aggregation interval, in Unix seconds. Both can be up
	// to 60 s late, so orderings closer than that prove nothing.
	// Source: VPC User Guide, "Flow log records", start and end.
	Start, End int64

	// Src and Dst are as seen by the interface: its own address is always
	// its primary private one. PktSrc and PktDst are those of the packet's
	// header. They differ at a NAT gateway and at other middleboxes.
	Src, Dst Addr

	// InterfaceID is the network interface that saw the packets. It is
	// empty for a regional NAT gateway, which is named by ResourceID.
	InterfaceID string

	// FlowLogID is the flow log that delivered the record ("fl-..."), taken
	// from the object's name. Empty when the name does not say.
	FlowLogID string

	AccountID string // "unknown" for interfaces of some services

	// Extra holds the wanted fields that have no place of their own here:
	// availability and service names, ECS, tags, next hops, and fields that
	// AWS adds after this was written.
	Extra []ExtraField

	PktSrc, PktDst Addr // see Src

	ResourceID string
	VPCID      string
	SubnetID   string
	InstanceID string // empty for requester-managed interfaces (NAT gateways)
	Region     string
	AZID       string

	// RejectReason is "BPA" (VPC block public access) or "EC" (encryption
	// controls). It never says security group or network ACL.
	RejectReason string
}

// ExtraField is a field kept by its AWS name, and its text.
type ExtraField struct{ Name, Value string }

// Interface names the network interface: the interface ID, or the resource
// ID where AWS gives none (regional NAT gateways).
func (r *Record) Interface() string {
	if r.InterfaceID == "" {
		return r.ResourceID
	}
	return r.InterfaceID
}

// Tuple returns the five-tuple as the interface saw it.
func (r *Record) Tuple() Tuple {
	return Tuple{Src: r.Src, Dst: r.Dst, SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto}
}

// HeaderTuple returns the five-tuple of the packets' headers, as network
// ACLs and security groups see it: pkt-srcaddr and pkt-dstaddr where the log
// has them, else srcaddr and dstaddr.
func (r *Record) HeaderTuple() Tuple {
	t := r.Tuple()
	if r.PktSrc.IsValid() {
		t.Src = r.PktSrc
	}
	if r.PktDst.IsValid() {
		t.Dst = r.PktDst
	}
	return t
}

// RecordError is a record that could not be read. The stream goes on
// behind it.
type RecordError struct {
	Place string // file or object
	Line  int    // 1 is the first line; 0 where lines have no meaning
	Field string // AWS field name; empty when the line as a whole is wrong
	Err   error
	Text  string // the record's text, cut to a readable length
}

func (e *RecordError) Error() string {
	s := e.Place
	if e.Line > 0 {
		s += fmt.Sprintf(": line %d", e.Line)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + ": " + e.Err.Error()
}

func (e *RecordError) Unwrap() error { return e.Err }

// ObjectError is a file or an object that could not be read to its end, or
// not at all. What was read before the break has been yielded, and the
// stream goes on with the next object.
type ObjectError struct {
	Place   string
	Records int // yielded before the break
	Fault   Fault
	Err     error
}

// Fault is why an object could not be read: what is to be done about it
// differs.
type Fault uint8

// The faults of objects.
const (
	Damaged     Fault = iota // cut short, or its content is not what it should be
	NotFlowLog               // something else, or of a format that is not known
	Gone                     // listed, and no longer there
	Archived                 // has to be restored before it can be read
	Denied                   // we may not read it, or not use its key
	Unreachable              // its server does not answer, or keeps failing
)

func (f Fault) String() string {
	return [...]string{"damaged", "not a flow log", "gone", "archived", "access denied", "unreachable"}[f]
}

func (e *ObjectError) Error() string {
	if e.Records == 0 {
		return fmt.Sprintf("%s: %v", e.Place, e.Err)
	}
	return fmt.Sprintf("%s: %v (%d records read before that)", e.Place, e.Err, e.Records)
}

func (e *ObjectError) Unwrap() error { return e.Err }
