package simulate

import (
	"fmt"
	"time"

	"ephemera/ingest/flow"
)

// object is what AWS delivers at a time: the records that end in these
// seconds, in no order.
const object = 300

// A point is one of the six at which a packet through a NAT gateway is seen.
type point uint8

const (
	p1 point = iota // client, egress
	p2              // NAT gateway, ingress, from the client
	p3              // NAT gateway, egress, to the server
	p4              // NAT gateway, ingress, from the server
	p5              // NAT gateway, egress, to the client
	p6              // client, ingress
)

// An iface is a network interface with its aggregation intervals.
type iface struct {
	id, subnet, instance string
	phase                time.Duration // of its intervals
	busy, lost           []bool        // by interval
	late                 []int32       // seconds by which start and end are late
}

// A wire is what all records of one connection have in common.
type wire struct {
	tuple       flow.Tuple // before translation
	host        *client    // nil for what comes from the internet
	gateway     *gateway   // nil without NAT
	natAddr     flow.Addr
	natPort     uint16
	records     int32
	first, last time.Duration // of its packets, before the log is cut
	stopped     bool          // before the NAT gateway
	// session, data and other are the row of the truth that is about it,
	// counted from 1; 0 if there is none.
	session, data, other int32
}

// An entry is a record without what its wire knows.
type entry struct {
	wire       int32 // or ^index of an interface, for a record without traffic
	start, end int32
	packets    uint32
	bytes      uint64
	point      point
	flags      flow.TCPFlags
	action     flow.Action
	status     flow.LogStatus
}

// A recorder keeps the records by object.
type recorder struct {
	w       *world
	ifaces  []*iface
	wires   []wire
	objects [][]entry
}

func newRecorder(w *world) *recorder { return &recorder{w: w} }

// newIface makes an interface; host is empty for one that belongs to no
// instance.
func (r *recorder) newIface(id string, index int, subnet, host string) *iface {
	w := r.w
	i := &iface{id: fmt.Sprintf(id, index), subnet: subnet, phase: w.within(w.Window)}
	if host != "" {
		i.instance = fmt.Sprintf(host, index)
	}
	cells := int(i.cell(w.Duration, w)) + 2
	i.busy, i.lost, i.late = make([]bool, cells), make([]bool, cells), make([]int32, cells)
	for c := range cells {
		i.lost[c] = w.chance(w.Loss)
		if w.Late > 0 {
			u := w.rnd.Float64() // mostly it is little
			i.late[c] = int32(u * u * u * (w.Late + time.Second).Seconds())
		}
	}
	r.ifaces = append(r.ifaces, i)
	return i
}

// cell returns the aggregation interval of a time. That of the log's first
// second is 0, and it began before.
func (i *iface) cell(at time.Duration, w *world) int64 { return floorDiv(at+i.phase, w.Window) }

// second returns the second of a time.
func second(at time.Duration) int32 { return int32(floorDiv(at, time.Second)) }

func floorDiv(a, b time.Duration) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return int64(q)
}

// A tap counts the packets of one way of one connection at one point.
type tap struct {
	entry
	cell  int64
	open  bool
	iface *iface
	delay time.Duration
	// stop ends the way here: by a filter that rejects, or because who gets
	// the packet does not pass it on.
	stop bool
}

// count takes n packets between two times. A single packet has flags.
func (t *tap) count(r *recorder, from, to time.Duration, n int, bytes int64, flags flow.TCPFlags) {
	from, to = from+t.delay, to+t.delay
	step := time.Duration(0)
	if n > 1 {
		step = (to - from) / time.Duration(n-1)
	}
	for n > 0 {
		k := n
		cell := t.iface.cell(from, r.w)
		if edge := time.Duration(cell+1)*r.w.Window - t.iface.phase; step > 0 {
			k = min(n, int((edge-from-1)/step)+1)
		}
		part := bytes * int64(k) / int64(n)
		t.add(r, cell, from, from+step*time.Duration(k-1), k, part, flags)
		from += step * time.Duration(k)
		n, bytes = n-k, bytes-part
	}
}

// add takes packets of one aggregation interval.
func (t *tap) add(r *recorder, cell int64, from, to time.Duration, n int, bytes int64, flags flow.TCPFlags) {
	if t.open && cell != t.cell {
		t.flush(r)
	}
	if !t.open {
		t.open, t.cell = true, cell
		t.start, t.packets, t.bytes, t.flags = second(from), 0, 0, 0
	}
	t.end = second(to)
	t.packets += uint32(n)
	t.bytes += uint64(bytes)
	t.flags |= flags
}

// flush hands the record on that is open.
func (t *tap) flush(r *recorder) {
	if !t.open {
		return
	}
	t.open = false
	if t.cell < 0 || t.cell >= int64(len(t.iface.lost)) || t.iface.lost[t.cell] {
		return
	}
	t.iface.busy[t.cell] = true
	e := t.entry
	e.start += t.iface.late[t.cell]
	e.end += t.iface.late[t.cell]
	if r.keep(e) {
		r.wires[e.wire].records++
	}
}

// keep adds a record to its object. The log is the objects of its time: what
// ends before or later is in others.
func (r *recorder) keep(e entry) bool {
	if e.end < 0 || int64(e.end) >= int64(r.w.Duration/time.Second) {
		return false
	}
	for int(e.end)/object >= len(r.objects) {
		r.objects = append(r.objects, nil)
	}
	o := &r.objects[e.end/object]
	*o = append(*o, e)
	return true
}

// silent adds a record for each interval in which an interface saw nothing,
// or of which its records were lost.
func (r *recorder) silent() {
	w := r.w
	for n, i := range r.ifaces {
		for c := range i.cell(w.Duration-1, w) + 1 {
			e := entry{wire: ^int32(n), status: flow.NoData}
			if i.lost[c] {
				e.status = flow.SkipData
			} else if i.busy[c] {
				continue
			}
			e.start = second(time.Duration(c)*w.Window - i.phase)
			e.end = second(time.Duration(c+1)*w.Window - i.phase)
			r.keep(e)
		}
	}
}

// deliver returns the records in the order of delivery.
func (r *recorder) deliver() []flow.Record {
	r.silent()
	n := 0
	for _, o := range r.objects {
		n += len(o)
	}
	records := make([]flow.Record, 0, n)
	for k, o := range r.objects {
		r.w.rnd.Shuffle(len(o), func(a, b int) { o[a], o[b] = o[b], o[a] })
		for i := range o {
			records = append(records, r.record(&o[i]))
		}
		r.objects[k] = nil
	}
	return records
}

// The fields of the formats, in their order.
var (
	defaultFields = []flow.Field{
		flow.FieldVersion, flow.FieldAccountID, flow.FieldInterfaceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort,
		flow.FieldDstPort, flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd, flow.FieldAction,
		flow.FieldLogStatus,
	}
	richFields = append(defaultFields[:len(defaultFields):len(defaultFields)],
		flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID, flow.FieldTCPFlags, flow.FieldPktSrcAddr, flow.FieldPktDstAddr,
		flow.FieldFlowDirection, flow.FieldTrafficPath)
	silentFields = flow.Fields(flow.FieldVersion, flow.FieldAccountID, flow.FieldInterfaceID, flow.FieldStart, flow.FieldEnd, flow.FieldLogStatus)
)

// record makes the record of an entry.
func (r *recorder) record(e *entry) flow.Record {
	rec := flow.Record{
		Has: flow.Fields(defaultFields...), Version: 2, AccountID: "123456789012", FlowLogID: "fl-0a1",
		Start: Begin + int64(e.start), End: Begin + int64(e.end), Status: e.status,
	}
	if r.w.Rich {
		rec.Version = 5
	}
	if e.wire < 0 {
		rec.Has, rec.InterfaceID = silentFields, r.ifaces[^e.wire].id
		return rec
	}
	w := &r.wires[e.wire]
	i, src, dst := w.seenAt(e.point)
	rec.InterfaceID, rec.Proto, rec.Action = i.id, w.tuple.Proto, e.action
	rec.Src, rec.SrcPort, rec.Dst, rec.DstPort = src.addr, src.port, dst.addr, dst.port
	rec.Packets, rec.Bytes = uint64(e.packets), e.bytes
	switch e.point {
	case p2, p4:
		rec.Dst = w.gateway.addrs[0]
	case p3, p5:
		rec.Src = w.gateway.addrs[0]
	}
	if r.w.Rich {
		enrich(&rec, e, i, src.addr, dst.addr)
	}
	return rec
}

// enrich sets the fields that the default format does not have.
func enrich(rec *flow.Record, e *entry, i *iface, src, dst flow.Addr) {
	rec.Has = flow.Fields(richFields...)
	rec.VPCID, rec.SubnetID, rec.InstanceID = "vpc-0a1", i.subnet, i.instance
	rec.PktSrc, rec.PktDst, rec.TCPFlags = src, dst, e.flags
	rec.Direction = flow.Ingress
	switch e.point {
	case p1, p5:
		rec.Direction, rec.TrafficPath = flow.Egress, 1
	case p3:
		rec.Direction, rec.TrafficPath = flow.Egress, 8
	default:
		rec.Has &^= flow.Fields(flow.FieldTrafficPath)
	}
	if i.instance == "" {
		rec.Has &^= flow.Fields(flow.FieldInstanceID)
	}
}

// A place is one end of a connection.
type place struct {
	addr flow.Addr
	port uint16
}

// seenAt returns the interface of a point, and the ends of the packets there.
func (x *wire) seenAt(p point) (i *iface, src, dst place) {
	c, s := place{x.tuple.Src, x.tuple.SrcPort}, place{x.tuple.Dst, x.tuple.DstPort}
	switch p {
	case p1:
		return x.host.iface, c, s
	case p2:
		return x.gateway.iface, c, s
	case p3:
		return x.gateway.iface, place{x.natAddr, x.natPort}, s
	case p4:
		if x.host == nil {
			return x.gateway.iface, c, s // nobody asked for it
		}
		return x.gateway.iface, s, place{x.natAddr, x.natPort}
	case p5:
		return x.gateway.iface, s, c
	}
	return x.host.iface, s, c
}
