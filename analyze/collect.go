package analyze

import (
	"cmp"
	"maps"
	"math"
	"runtime"
	"slices"

	"ephemera/ingest/flow"
)

// WantFields are the fields of flow log records that an analysis reads.
// A log that lacks some of them is still analysed; Coverage says what that
// costs.
var WantFields = flow.Fields(
	flow.FieldInterfaceID, flow.FieldResourceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort,
	flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd, flow.FieldAction, flow.FieldLogStatus,
	flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID, flow.FieldTCPFlags, flow.FieldPktSrcAddr, flow.FieldPktDstAddr,
	flow.FieldFlowDirection, flow.FieldRejectReason)

// A collector gathers flow log records by network interface and five-tuple,
// until the connections that they are part of are over. What it holds at a
// time depends only on the set of records that end before, not on their
// order.
type collector struct {
	ordered    bool // Options.Ordered
	interfaces map[string]*Interface
	ranked     []*Interface // by ID, as of the last stock
	groups     *groupTable
	fresh      map[int64][]*group // those whose endpoints portMeaning has not learned, by the step that the first of their windows ends in
	coverage   Coverage
	// closed is the time before which connections were already taken out.
	closed int64

	// due holds the groups of one connection each by when they can be over:
	// lists, by the number of the stock (see stockOf). inParts holds the
	// others, which each stock looks at.
	due     map[int64]*group
	inParts []*group
	held    int    // windows in groups
	spill   *spill // what there was no room for; nil while there is
	batch   batch
	seen    sighting // by the last record

	// The record before, which often has the same interface and flow log.
	last struct {
		iface *Interface
		log   string
		hash  uint32
	}
	sorting []orderedGroup // scratch
	closers []closer
}

// groupKey is a five-tuple, either way round, as one interface saw it.
type groupKey struct {
	iface *Interface
	tuple flow.Tuple // canonical
}

// A group holds the records of one groupKey.
type group struct {
	key     groupKey
	hash    uint64   // of key
	headers []header // the header addresses seen, usually one pair
	windows []window
	// first is where windows begins: most groups have no more.
	first [2]window

	// What is known of windows. Unless parts is set, they are surely of one
	// connection, of one flow log, and none of it is over before lastEnd.
	firstStart, firstEnd, lastEnd int64
	firstClose                    int64 // the earliest end of one with FIN or RST; forever if there is none
	lastSYN                       int64 // the latest start of one with SYN
	log                           uint32
	parts                         bool

	accepted bool   // a window of it was
	counted  bool   // among the five-tuples of its interface
	freshAt  int64  // the step that it waits for in collector.fresh; notFresh when it does not
	queued   bool   // is in a list of collector.due
	dueAt    int64  // the number of that list
	listed   bool   // is in collector.inParts
	removed  bool   // is over, and queued still
	next     *group // in its list of collector.due
}

// header holds the packets' addresses on the side of tuple.Src and on the
// side of tuple.Dst. At the inside of a NAT gateway the latter is the
// server, where the tuple says the gateway.
type header struct{ src, dst flow.Addr }

// A window is one record: one direction of the five-tuple in one
// aggregation interval.
type window struct {
	start, end     int64
	packets, bytes uint64
	log            uint32 // hash of the flow log's ID; two that share one, of four billion, would be one log
	header         int32  // index into group.headers; -1 when the log has no pkt-* fields
	forward        bool   // from tuple.Src to tuple.Dst
	hasFlags       bool
	flags          flow.TCPFlags
	action         flow.Action
	reason         rejectReason
}

// rejectReason is the field reject-reason, packed.
type rejectReason uint8

const (
	noReason rejectReason = iota
	reasonBPA
	reasonEC
)

// compare orders windows by time, then by everything else, so that equal
// inputs give equal outputs whatever their order.
func (w window) compare(v window) int {
	return cmp.Or(
		cmp.Compare(w.start, v.start), cmp.Compare(w.end, v.end), compareBool(v.forward, w.forward),
		cmp.Compare(w.action, v.action), cmp.Compare(w.packets, v.packets), cmp.Compare(w.bytes, v.bytes),
		cmp.Compare(v.header, w.header), compareBool(v.hasFlags, w.hasFlags), cmp.Compare(w.flags, v.flags),
		cmp.Compare(w.reason, v.reason), cmp.Compare(w.log, v.log))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Interface is a network interface that appears in the log.
type Interface struct {
	ID         string
	SubnetID   string
	VPCID      string
	InstanceID string

	// Addr is the interface's primary private address: from the snapshot,
	// else what the records say. own holds all addresses of its own:
	// secondary ones, those of the other family.
	Addr flow.Addr
	own  map[flow.Addr]bool

	// NAT is set when it belongs to a NAT gateway, and NATEvidence says how
	// that is known.
	NAT         bool
	GatewayID   string
	NATEvidence string

	number  int // in the order of appearance
	rank    int // in the order of IDs, as of the last stock
	foreign int // egress records whose header source is somebody else

	heard heard
}

// heard is what records say of their interface. It is the collector's alone:
// publish sets the interface from it, and what that tells stays as it is while
// connections are put together.
type heard struct {
	// steps hold what was not published yet, by the step that the records end
	// in; last is that of the record before.
	steps  map[int64]*testimony
	last   *testimony
	lastAt int64

	named map[flow.Addr]int // addresses that flow-direction or a snapshot makes the interface's own, by records
	seen  map[flow.Addr]int // addresses by five-tuples, while nothing is named
	fresh bool              // there are addresses that settle has not gone by
}

// testimony is what the records of one step say of their interface.
type testimony struct {
	subnetID, vpcID, instanceID string

	named map[flow.Addr]int // see heard.named
	// lastNamed was named again times after it was counted.
	lastNamed flow.Addr
	again     int
	foreign   int // see Interface.foreign
}

func newCollector() *collector {
	return &collector{
		interfaces: map[string]*Interface{},
		groups:     newGroupTable(),
		due:        map[int64]*group{},
		fresh:      map[int64][]*group{},
		closers:    make([]closer, runtime.GOMAXPROCS(0)),
	}
}

// add takes one record. The record is not kept.
func (c *collector) add(r *flow.Record) {
	iface := c.iface(r)
	told := int64(0) // all is read before the first stock
	if c.ordered {
		told = max(r.Start, r.End)
	}
	says := iface.heard.at(told)
	says.place(r)
	c.span(r)
	n := 1 + int(r.Merged)
	switch r.Status {
	case flow.NoData:
		c.coverage.NoData += n
		return
	case flow.SkipData:
		c.coverage.SkipData += n
		return
	}
	if !r.Src.IsValid() && !r.PktSrc.IsValid() {
		c.coverage.BadRecords += n // a format without addresses says nothing about connections
		return
	}
	c.coverage.Records += n
	c.coverage.HeaderAddrs = c.coverage.HeaderAddrs || r.PktSrc.IsValid()
	c.coverage.Flags = c.coverage.Flags || r.Has.Has(flow.FieldTCPFlags)

	c.sight(&c.seen, iface, r)
	c.take(&c.seen)
	says.learn(r, n)
}

// A sighting is what a record says of the packets of a five-tuple.
type sighting struct {
	iface  *Interface
	tuple  flow.Tuple // canonical
	header header     // not valid when the log has no pkt-* fields
	window window     // without the number of the header
}

// sight sets s to what a record says.
func (c *collector) sight(s *sighting, iface *Interface, r *flow.Record) {
	raw := r.Tuple()
	if !raw.Src.IsValid() || !raw.Dst.IsValid() {
		raw = r.HeaderTuple() // a format with pkt-* addresses only
	}
	tuple, forward := raw.Canonical()
	s.iface, s.tuple, s.header = iface, tuple, header{}
	s.window = window{
		start: r.Start, end: max(r.Start, r.End), packets: r.Packets, bytes: r.Bytes,
		log: c.logOf(r), header: -1, forward: forward,
		hasFlags: r.Has.Has(flow.FieldTCPFlags), flags: r.TCPFlags, action: r.Action, reason: reasonOf(r),
	}
	switch {
	case !r.PktSrc.IsValid() || !r.PktDst.IsValid():
	case forward:
		s.header = header{r.PktSrc, r.PktDst}
	default:
		s.header = header{r.PktDst, r.PktSrc}
	}
}

// A batch holds sightings that are put to their groups together.
type batch struct {
	n         int
	sightings [batchSize]sighting
	hashes    [batchSize]uint64
	touched   int64 // see groupTable.touch
}

const batchSize = 32

// put puts a sighting to its group, now or at the next flush.
func (c *collector) put(s *sighting) {
	b := &c.batch
	b.sightings[b.n] = *s
	if b.n++; b.n == batchSize {
		c.flush()
	}
}

// flush puts all sightings to their groups. It comes before whatever looks at
// the groups.
func (c *collector) flush() {
	b := &c.batch
	for i := range b.n {
		b.hashes[i] = groupKey{b.sightings[i].iface, b.sightings[i].tuple}.hash()
	}
	for i := range b.n {
		b.touched += c.groups.touch(b.hashes[i])
	}
	for i := range b.n {
		c.putNow(&b.sightings[i], b.hashes[i])
	}
	b.n = 0
}

func (c *collector) putNow(s *sighting, hash uint64) {
	g := c.groups.get(groupKey{s.iface, s.tuple}, hash)
	known := len(g.headers)
	w := s.window
	w.header = g.number(s.header)
	g.add(w)
	c.held++
	c.queue(g)
	news := len(g.windows) == 1 || len(g.headers) > known || w.action != flow.Reject && !g.accepted
	g.accepted = g.accepted || w.action != flow.Reject
	if news || g.freshAt != notFresh {
		c.refresh(g)
	}
	if w.end < c.closed {
		c.coverage.Late++
	}
}

// logOf returns the hash of the ID of the record's flow log.
func (c *collector) logOf(r *flow.Record) uint32 {
	if c.last.log != r.FlowLogID || c.last.hash == 0 {
		c.last.log, c.last.hash = r.FlowLogID, hash(r.FlowLogID)
	}
	return c.last.hash
}

func reasonOf(r *flow.Record) rejectReason {
	switch r.RejectReason {
	case "":
	case "BPA":
		return reasonBPA
	case "EC":
		return reasonEC
	}
	return noReason
}

func (c *collector) span(r *flow.Record) {
	if r.Start == 0 {
		return
	}
	if c.coverage.Start == 0 || Time(r.Start) < c.coverage.Start {
		c.coverage.Start = Time(r.Start)
	}
	c.coverage.End = max(c.coverage.End, Time(r.End))
}

func (c *collector) iface(r *flow.Record) *Interface {
	id := r.Interface()
	i := c.last.iface
	if i == nil || i.ID != id {
		if i = c.interfaces[id]; i == nil {
			i = &Interface{ID: id, number: len(c.interfaces), heard: newHeard()}
			c.interfaces[id] = i
		}
		c.last.iface = i
	}
	return i
}

// stockOf is the number of the first stock that a connection is over at which
// ended at the time end.
func stockOf(end int64) int64 { return (end+stillOpen)/step + 1 }

// queue puts the group where the stock looks for it. One that goes on stays
// where it was put by its first record, and is moved when it is come to.
func (c *collector) queue(g *group) {
	switch {
	case g.parts && !g.listed:
		g.listed = true
		c.inParts = append(c.inParts, g)
	case !g.parts && !g.queued:
		n := stockOf(g.lastEnd)
		g.queued, g.dueAt, g.next = true, n, c.due[n]
		c.due[n] = g
	}
}

// takeDue takes the groups out of the queues that may hold connections that
// ended before limit, the time of a stock less stillOpen.
func (c *collector) takeDue(limit int64) []*group {
	c.unpark(limit)
	var due []*group
	if limit == forever {
		c.groups.all(func(g *group) { due = append(due, g) })
		return due
	}
	for n, g := range c.due {
		if n*step > limit+stillOpen {
			continue
		}
		delete(c.due, n)
		for next := g; next != nil; {
			g, next = next, next.next
			g.queued = false
			switch {
			case g.removed:
				c.groups.recycle(g)
			case g.parts:
			case g.lastEnd < limit:
				due = append(due, g)
			default:
				c.queue(g)
			}
		}
	}
	for _, g := range c.inParts {
		if g.firstEnd < limit {
			due = append(due, g)
		}
	}
	return due
}

// drop forgets a group, whose windows are closed or elsewhere.
func (c *collector) drop(g *group) {
	c.groups.remove(g)
	if g.removed = true; !g.queued {
		c.groups.recycle(g)
	}
}

// settle gives header addresses numbers that do not depend on the order of
// records.
func (g *group) settle() {
	if len(g.headers) < 2 {
		return
	}
	sorted := slices.Clone(g.headers)
	slices.SortFunc(sorted, func(a, b header) int { return cmp.Or(a.src.Compare(b.src), a.dst.Compare(b.dst)) })
	for i := range g.windows {
		if w := &g.windows[i]; w.header >= 0 {
			w.header = int32(slices.Index(sorted, g.headers[w.header]))
		}
	}
	g.headers = sorted
}

// number returns the number of header addresses in the group; -1 when they are
// not known.
func (g *group) number(h header) int32 {
	if !h.src.IsValid() {
		return -1
	}
	if i := slices.Index(g.headers, h); i >= 0 {
		return int32(i)
	}
	g.headers = append(g.headers, h)
	return int32(len(g.headers) - 1)
}

// notFresh is the step of a group that portMeaning has learned.
const notFresh = math.MinInt64

// refresh has portMeaning learn of the group, again.
func (c *collector) refresh(g *group) {
	if at := g.firstEnd / step; g.freshAt == notFresh || at < g.freshAt {
		g.freshAt = at
		c.fresh[at] = append(c.fresh[at], g)
	}
}

func newHeard() heard {
	return heard{steps: map[int64]*testimony{}, named: map[flow.Addr]int{}, seen: map[flow.Addr]int{}}
}

// at returns what records tell that end at a time.
func (h *heard) at(end int64) *testimony {
	if n := end / step; h.last == nil || n != h.lastAt {
		if h.steps[n] == nil {
			h.steps[n] = &testimony{named: map[flow.Addr]int{}}
		}
		h.last, h.lastAt = h.steps[n], n
	}
	return h.last
}

// place notes where a record says that the interface is.
func (t *testimony) place(r *flow.Record) {
	t.subnetID, t.vpcID, t.instanceID = max(t.subnetID, r.SubnetID), max(t.vpcID, r.VPCID), max(t.instanceID, r.InstanceID)
}

// learn notes which address a record, that stands for n, gives the interface.
func (t *testimony) learn(r *flow.Record, n int) {
	switch r.Direction {
	case flow.Egress:
		t.name(r.Src, n)
		if r.PktSrc.IsValid() && r.PktSrc != r.Src {
			t.foreign += n
		}
	case flow.Ingress:
		t.name(r.Dst, n)
	}
}

// name counts an address that the log names as the interface's own, n times.
// It is mostly the same one.
func (t *testimony) name(a flow.Addr, n int) {
	if a == t.lastNamed {
		t.again += n
		return
	}
	t.countAgain()
	t.lastNamed = a
	t.named[a] += n
}

// countAgain brings named up to date.
func (t *testimony) countAgain() {
	if t.again > 0 {
		t.named[t.lastNamed] += t.again
		t.again = 0
	}
}

// publish sets the interface from the records that end before seen, a multiple
// of step or forever.
func (i *Interface) publish(seen int64) {
	h := &i.heard
	for n, t := range h.steps {
		if seen < forever && n*step >= seen {
			continue
		}
		delete(h.steps, n)
		t.countAgain()
		for a, records := range t.named {
			h.fresh = h.fresh || h.named[a] == 0
			h.named[a] += records
		}
		i.SubnetID, i.VPCID, i.InstanceID = max(i.SubnetID, t.subnetID), max(i.VPCID, t.vpcID), max(i.InstanceID, t.instanceID)
		i.foreign += t.foreign
	}
	h.last = nil
	h.bound()
}

// see counts the addresses of a five-tuple.
func (h *heard) see(t flow.Tuple) {
	if len(h.named) > 0 {
		return // nobody asks for it any more
	}
	for _, a := range [...]flow.Addr{t.Src, t.Dst} {
		h.fresh = h.fresh || h.seen[a] == 0
		h.seen[a]++
	}
}

// seenAddrs is how many addresses heard.seen keeps from one stock to the next:
// those seen most, among which are the interface's own, because one of them
// stands in every record.
const seenAddrs = 1024

func (h *heard) bound() {
	if len(h.named) > 0 {
		clear(h.seen)
	}
	if len(h.seen) <= seenAddrs {
		return
	}
	most := slices.SortedFunc(maps.Keys(h.seen), func(a, b flow.Addr) int {
		return cmp.Or(cmp.Compare(h.seen[b], h.seen[a]), a.Compare(b))
	})
	for _, a := range most[seenAddrs:] {
		delete(h.seen, a)
	}
}

// settleInterfaces brings the interfaces up to what the records tell that end
// before seen.
func (c *collector) settleInterfaces(seen int64, t topology) {
	for _, i := range c.ranked {
		i.publish(seen)
		if i.own == nil || i.heard.fresh {
			t.describe(i)
			i.settle()
		}
	}
}

// settle decides the interface's own addresses from the records so far. Flow
// log records are centred on the interface: its primary address stands on
// one side of each. Where flow-direction does not name the side, it is, of
// each family, the address that most five-tuples share; of two such, the
// private one.
func (i *Interface) settle() {
	i.own = map[flow.Addr]bool{}
	for a := range i.heard.named {
		i.own[a] = true
	}
	votes := i.heard.named
	if len(votes) == 0 {
		votes = i.heard.seen
		i.own[mostSeen(votes, true)] = true
		i.own[mostSeen(votes, false)] = true
	}
	if !i.Addr.IsValid() {
		i.Addr = mostSeen(votes, true)
	}
	if !i.Addr.IsValid() {
		i.Addr = mostSeen(votes, false)
	}
	i.own[i.Addr] = true
	delete(i.own, flow.Addr{})
	i.heard.fresh = false
}

// owns reports whether a is an address of the interface's own, as far as that
// was settled.
func (i *Interface) owns(a flow.Addr) bool {
	if len(i.own) == 1 && i.Addr.IsValid() {
		return a == i.Addr // the usual case, without a map
	}
	return i.own[a]
}

// mostSeen returns the address of a family with the most votes; the zero
// Addr when there is none.
func mostSeen(votes map[flow.Addr]int, v4 bool) flow.Addr {
	var best flow.Addr
	for a := range votes {
		if a.Is4() != v4 {
			continue
		}
		c := cmp.Or(cmp.Compare(votes[a], votes[best]), compareBool(isPrivate(a), isPrivate(best)), -a.Compare(best))
		if !best.IsValid() || c > 0 {
			best = a
		}
	}
	return best
}

func isPrivate(a flow.Addr) bool { return a.Netip().IsPrivate() }

// rankInterfaces gives the interfaces their ranks.
func (c *collector) rankInterfaces() {
	c.ranked = slices.SortedFunc(maps.Values(c.interfaces), func(a, b *Interface) int { return cmp.Compare(a.ID, b.ID) })
	for rank, i := range c.ranked {
		i.rank = rank
	}
}
