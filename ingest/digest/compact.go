package digest

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"time"

	"ephemera/ingest/flow"
)

// This file makes few digests of many: one for each hour or day, by the ends
// of records. On the way, records that follow each other become one where
// that changes no answer.
//
//	source → Survey.Read → source again → Survey.Compact → Survey.Write, each period
//
// # What may be merged
//
// A connection is judged by its totals, its beginning and its end, and by the
// flags and the rejects in it; single records count where the two sides of a
// NAT gateway are matched, for control connections, and where two flow logs
// deliver the same traffic. So these stay as they are:
//
//   - what is no plain ACCEPT of TCP or UDP, and TCP with SYN, FIN or RST;
//   - TCP at a control port, and of servers that accepted something there, or
//     that are near them;
//   - all of an interface that may be a NAT gateway's, or that several flow
//     logs are of;
//   - what is in the log twice, or ends when another record of its flow does.
//
// Any other record is merged with the one before of its five-tuple, its
// direction, and all that it says besides of where it was seen, if
//
//   - it begins behind the end of that one, after at most mergeGapTCP seconds, or
//     mergeGap where no TCP flags tell one connection from the next;
//   - nothing that stays as it is came between them, either way;
//   - the two together are no longer than the longest aggregation interval;
//   - both begin in one hour and end in one, so that whole hours can be read of
//     them;
//   - and, of the first two of a sequence, both end in one step of the analysis,
//     so that it learns of a connection when it would have.
//
// Records of status NODATA, and of SKIPDATA, are merged by interface, as they
// follow each other, however many there are in those ten minutes.

// The bounds of what is merged, in seconds.
const (
	// mergeGapTCP is shorter than any silence that ends a connection.
	mergeGapTCP = 120
	// mergeGap is the longest pause at which no connection is cut by what the
	// other side of a NAT gateway saw.
	mergeGap = 5
	// mergeSpan is the longest aggregation interval: what is open is known to
	// go on by records that are no longer.
	mergeSpan = 600
	// mergeStep divides the time at which an analysis takes stock.
	mergeStep = 300
)

// maxDisorder is how far, in seconds, a record comes at most behind others
// that end later: see ingest.Objects.
const maxDisorder = 15 * 60

// groupStep is how long the time is, in seconds, that the records of one row
// group end in, where a digest covers hours: row groups are sorted by interface,
// and are read one behind the other, as AWS's objects are, which hold as much.
const groupStep = 300

// mostMerged bounds flow.Record.Merged.
const mostMerged = math.MaxInt32 - 1

// A Period is how long the time is that a compacted digest covers.
type Period int64

// The periods, in seconds.
const (
	Hour Period = 3600
	Day  Period = 86400
)

// PeriodNamed is the inverse of Period.String.
func PeriodNamed(name string) (Period, bool) {
	switch name {
	case "hour":
		return Hour, true
	case "day":
		return Day, true
	}
	return 0, false
}

// String gives "hour" or "day".
func (p Period) String() string {
	if p == Hour {
		return "hour"
	}
	return "day"
}

// Of returns the beginning of the period that a time is in, in Unix seconds.
func (p Period) Of(unix int64) int64 {
	n := unix % int64(p)
	if n < 0 {
		n += int64(p)
	}
	return unix - n
}

// A Survey is what has to be known of a source before its records are merged.
// It grows with the interfaces and the FTP servers of the source, and with
// what cannot be read of it. Not safe for concurrent use.
type Survey struct {
	per     Period
	control [1 << 16]bool

	ifaces  map[string]*seenInterface
	last    *seenInterface
	servers map[flow.Addr]bool
	near    map[flow.Addr]bool // the networks of servers, by their first address
	changed bool               // by the latest record

	periods map[int64]bool     // those that records are in
	faults  map[int64]*Summary // what cannot be read, by period
	total   int64              // of errors
}

// NewSurvey makes a Survey for digests of one hour or day each. The ports are
// those of control connections besides 21 and 990.
func NewSurvey(per Period, controlPorts ...uint16) *Survey {
	s := &Survey{
		per: per, ifaces: map[string]*seenInterface{}, servers: map[flow.Addr]bool{}, near: map[flow.Addr]bool{},
		periods: map[int64]bool{}, faults: map[int64]*Summary{},
	}
	s.control[21], s.control[990] = true, true
	for _, p := range controlPorts {
		s.control[p] = true
	}
	return s
}

// Read reads the source for the first time. timeOf tells the time of the
// object at a place, for errors. An error that is neither a *flow.RecordError
// nor a *flow.ObjectError is returned.
func (s *Survey) Read(records iter.Seq2[*flow.Record, error], timeOf func(place string) int64) error {
	var t timeline
	for r, err := range records {
		if err != nil {
			if err := s.note(err, timeOf); err != nil {
				return err
			}
			continue
		}
		s.periods[s.per.Of(t.of(r))] = true
		s.learn(r)
	}
	s.placeFaults()
	return nil
}

// A timeline says when the records of a source take place, which come in its
// order.
type timeline struct{ latest int64 }

// of returns the end of the next record. One that comes later than any may, or
// that has no time, takes place when it still can.
func (t *timeline) of(r *flow.Record) int64 {
	end := max(r.Start, r.End)
	t.latest = max(t.latest, end)
	return max(end, t.latest-maxDisorder)
}

// note keeps an error for the digest of its object's time.
func (s *Survey) note(err error, timeOf func(place string) int64) error {
	var bad *flow.RecordError
	var broken *flow.ObjectError
	place := ""
	switch {
	case errors.As(err, &bad):
		place = bad.Place
	case errors.As(err, &broken):
		place = broken.Place
	default:
		return err
	}
	s.total++
	p := s.per.Of(timeOf(place))
	if s.faults[p] == nil {
		s.faults[p] = &Summary{}
	}
	return s.faults[p].note(err)
}

// placeFaults gives what cannot be read of periods without records to the
// next one that has some, or to the last one.
func (s *Survey) placeFaults() {
	periods := s.Periods()
	if len(periods) == 0 {
		for p := range s.faults {
			s.periods[p] = true
		}
		return
	}
	for p, f := range s.faults {
		if s.periods[p] {
			continue
		}
		i, _ := slices.BinarySearch(periods, p)
		to := periods[min(i, len(periods)-1)]
		if s.faults[to] == nil {
			s.faults[to] = &Summary{}
		}
		s.faults[to].Bad = append(s.faults[to].Bad, f.Bad...)
		s.faults[to].Broken = append(s.faults[to].Broken, f.Broken...)
		delete(s.faults, p)
	}
	for _, f := range s.faults {
		slices.SortStableFunc(f.Bad, func(a, b BadRecords) int { return cmp.Compare(a.Place, b.Place) })
		slices.SortStableFunc(f.Broken, func(a, b Broken) int { return cmp.Compare(a.Place, b.Place) })
	}
}

// Periods returns the beginnings of the periods that have a digest, in order.
func (s *Survey) Periods() []int64 {
	periods := make([]int64, 0, len(s.periods))
	for p := range s.periods {
		periods = append(periods, p)
	}
	slices.Sort(periods)
	return periods
}

// learn notes what the record says of interfaces and servers.
func (s *Survey) learn(r *flow.Record) {
	s.changed = false
	if r.Status != flow.OK {
		return
	}
	s.changed = s.iface(r.Interface()).learn(r)
	if r.Proto != flow.TCP || r.Action == flow.Reject || s.control[r.SrcPort] == s.control[r.DstPort] {
		return
	}
	t := r.HeaderTuple()
	server := t.Dst
	if s.control[t.SrcPort] {
		server = t.Src
	}
	if !s.servers[server] {
		s.servers[server], s.changed = true, true
		if n, ok := neighbourhoodOf(server); ok {
			s.near[n] = true
		}
	}
}

func (s *Survey) iface(id string) *seenInterface {
	if s.last != nil && s.last.id == id {
		return s.last
	}
	i := s.ifaces[id]
	if i == nil {
		i = &seenInterface{id: id}
		s.ifaces[id] = i
	}
	s.last = i
	return i
}

func isPrivate(a flow.Addr) bool { return a.IsValid() && a.Netip().IsPrivate() }

// neighbourhoodOf returns the first address of the network of those near a
// server on the internet, any of which may serve its data.
func neighbourhoodOf(a flow.Addr) (flow.Addr, bool) {
	switch {
	case !a.IsValid() || isPrivate(a):
		return flow.Addr{}, false
	case a.Is4():
		return flow.AddrFrom(a.Prefix(24).Addr()), true
	}
	return flow.AddrFrom(a.Prefix(64).Addr()), true
}

// mayMerge reports whether the record may be merged with others.
func (s *Survey) mayMerge(r *flow.Record) bool {
	switch {
	case r.End < r.Start || r.Start <= 0 || r.End-r.Start > mergeSpan || len(r.Extra) > 0:
		return false
	case r.Status != flow.OK:
		return true
	case r.Action != flow.Accept || r.RejectReason != "" || r.Proto != flow.TCP && r.Proto != flow.UDP:
		return false
	case !r.Src.IsValid() && !r.PktSrc.IsValid() || !s.iface(r.Interface()).mayMerge():
		return false
	case r.Proto == flow.UDP:
		return true
	case r.TCPFlags&(flow.SYN|flow.FIN|flow.RST) != 0 || s.control[r.SrcPort] || s.control[r.DstPort]:
		return false
	}
	return !s.serves(r.Src) && !s.serves(r.Dst) && !s.serves(r.PktSrc) && !s.serves(r.PktDst)
}

// serves reports whether the address is that of an FTP server, or near one.
func (s *Survey) serves(a flow.Addr) bool {
	if s.servers[a] {
		return true
	}
	if len(s.near) == 0 {
		return false
	}
	n, ok := neighbourhoodOf(a)
	return ok && s.near[n]
}

// ErrChanged is returned when a source has more on its second reading than it
// had on the first.
var ErrChanged = errors.New("flow logs came to the source while it was read; run it again, or read what is over with --to")

// A Part is what the digest of one period is made of.
type Part struct {
	Begin int64 // of the period, in Unix seconds
	// Records are those of the period in the order of their ends, merged where
	// they may be. They can be read once, before the next Part is asked for.
	Records iter.Seq2[*flow.Record, error]
}

// Compact reads the source again, and gives the digests' parts in order. The
// source's order is that which ingest.Objects promises. An error is the last
// step.
//
// In memory are the records of half an hour: those that may come late, and
// those that more may be merged with.
func (s *Survey) Compact(records iter.Seq2[*flow.Record, error]) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		next, stop := iter.Pull2(s.slots(records))
		defer stop()
		x, err, more := next()
		for _, begin := range s.Periods() {
			if more && err == nil && s.per.Of(x.time) < begin {
				err = ErrChanged
			}
			part := Part{Begin: begin, Records: func(yield func(*flow.Record, error) bool) {
				for more && err == nil && s.per.Of(x.time) == begin {
					if !yield(&x.rec, nil) {
						return
					}
					x, err, more = next()
				}
				if err != nil {
					yield(nil, err)
				}
			}}
			if !yield(part, nil) {
				return
			}
			for more && err == nil && s.per.Of(x.time) == begin { // what nobody read
				x, err, more = next()
			}
		}
		if err == nil && more {
			err = ErrChanged
		}
		if err != nil {
			yield(Part{}, err)
		}
	}
}

// slots gives the records of the source in the order of their ends.
func (s *Survey) slots(records iter.Seq2[*flow.Record, error]) iter.Seq2[*slot, error] {
	return func(yield func(*slot, error) bool) {
		c := newCompaction(s, func(x *slot) bool { return yield(x, nil) })
		faults := int64(0)
		for r, err := range records {
			if err == nil {
				err = s.check(r)
			} else if isFault(err) {
				if faults++; faults <= s.total {
					continue // the Survey has it
				}
				err = ErrChanged
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if c.add(r); c.stopped {
				return
			}
		}
		c.close()
	}
}

// check refuses a record that says what the Survey did not know.
func (s *Survey) check(r *flow.Record) error {
	if s.learn(r); s.changed {
		return ErrChanged
	}
	return nil
}

// isFault reports whether the stream goes on behind the error.
func isFault(err error) bool {
	var bad *flow.RecordError
	var broken *flow.ObjectError
	return errors.As(err, &bad) || errors.As(err, &broken)
}

// Write writes the digest of a part, and what could not be read of its period.
// It names at most MaxSources of the sources; more is how many there are
// besides.
func (s *Survey) Write(w io.Writer, part Part, of []Source, more int64) (Summary, error) {
	d := newWriter(w, true)
	d.step = groupStep
	n := min(len(of), MaxSources)
	d.sum.MoreSources = more + int64(len(of)-n)
	if f := s.faults[part.Begin]; f != nil {
		d.sum.Bad, d.sum.Broken = f.Bad, f.Broken
	}
	return d.write(part.Records, of[:n])
}

// MaxSources is how many sources the digest of an hour or a day names.
const MaxSources = 1000

// CompactedName is the name of the digest of a period, which begins at a time
// in Unix seconds. It says first how many records the digest stands for and
// how many it has: of two digests of one period, the one with the greater name
// of those is the one that tells more. The version tells its content.
//
//	2026/11/22/digest_vpcflowlogs_day_fl-all_20261122T0000Z_00000001234567-000000234567-9f86d081.digest.parquet
func CompactedName(per Period, begin int64, sum *Summary, version string) string {
	return fmt.Sprintf("%s%014d-%014d-%s%s", CompactedPrefix(per, begin), sum.Records+sum.NoData+sum.SkipData, sum.Rows, clean(version), Suffix)
}

// CompactedPrefix is what the names of all digests of a period begin with.
func CompactedPrefix(per Period, begin int64) string {
	t := time.Unix(begin, 0).UTC()
	return fmt.Sprintf("%s/digest_vpcflowlogs_%s_fl-all_%s_", t.Format("2006/01/02"), per, t.Format("20060102T1504Z"))
}

// A compaction is one pass that merges.
type compaction struct {
	survey *Survey
	emit   func(*slot) bool

	// Records wait as slots by the second of their end until none can come that
	// ends earlier.
	timeline timeline
	waiting  map[int64][]*slot
	seconds  seconds // those of waiting
	spare    [][]*slot
	free     []*slot

	// Slots that were taken are in order, until nothing more can be merged with
	// them; those before given were given out.
	slots   []*slot
	given   int
	threads map[threadKey]*[2]*slot // the last one of each way, if it is open
	stopped bool
}

// A threadKey is a five-tuple as an interface saw it, canonical, or the zero
// one, of NODATA, with the status.
type threadKey struct {
	iface  string
	tuple  flow.Tuple
	status flow.LogStatus
}

// A slot is a record with those that were merged into it.
type slot struct {
	rec   flow.Record
	time  int64 // see timeline
	key   threadKey
	way   int
	kept  bool // as it is
	first bool // of a sequence
	dead  bool // merged into a later one
}

// seconds is a heap of times.
type seconds []int64

func (s seconds) Len() int           { return len(s) }
func (s seconds) Less(i, j int) bool { return s[i] < s[j] }
func (s seconds) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

// Push implements heap.Interface.
func (s *seconds) Push(x any) { *s = append(*s, x.(int64)) }

// Pop implements heap.Interface.
func (s *seconds) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

func newCompaction(s *Survey, emit func(*slot) bool) *compaction {
	return &compaction{survey: s, emit: emit, waiting: map[int64][]*slot{}, threads: map[threadKey]*[2]*slot{}}
}

// add takes the next record of the source.
func (c *compaction) add(r *flow.Record) {
	x := c.slot()
	*x = slot{rec: *r, time: c.timeline.of(r)}
	batch, known := c.waiting[x.time]
	if !known {
		heap.Push(&c.seconds, x.time)
		if n := len(c.spare); n > 0 {
			batch, c.spare = c.spare[n-1], c.spare[:n-1]
		}
	}
	c.waiting[x.time] = append(batch, x)
	for len(c.seconds) > 0 && c.seconds[0] < c.timeline.latest-maxDisorder && !c.stopped {
		c.takeSecond()
	}
}

// slot makes a slot, or takes one of earlier use.
func (c *compaction) slot() *slot {
	n := len(c.free)
	if n == 0 {
		return new(slot)
	}
	x := c.free[n-1]
	c.free = c.free[:n-1]
	return x
}

// close takes what waits, and gives out everything.
func (c *compaction) close() {
	for len(c.seconds) > 0 && !c.stopped {
		c.takeSecond()
	}
	c.emitBefore(math.MaxInt64)
}

// takeSecond takes the records of the second that comes next: first those that
// may be merged, then the others, which end the sequences of their five-tuple.
func (c *compaction) takeSecond() {
	at := heap.Pop(&c.seconds).(int64)
	batch := c.waiting[at]
	delete(c.waiting, at)
	c.emitBefore(at - mergeSpan)
	slices.SortFunc(batch, func(x, y *slot) int { return compareRecords(&x.rec, &y.rec) })
	for i, x := range batch {
		twin := i > 0 && sameFlow(&batch[i-1].rec, &x.rec) || i+1 < len(batch) && sameFlow(&x.rec, &batch[i+1].rec)
		x.kept = twin || x.rec.End != at || !c.survey.mayMerge(&x.rec)
		x.key, x.way = threadOf(&x.rec)
	}
	for _, x := range batch {
		if !x.kept {
			c.merge(x)
		}
	}
	for _, x := range batch {
		if x.kept {
			delete(c.threads, x.key)
			c.slots = append(c.slots, x)
		}
	}
	clear(batch)
	c.spare = append(c.spare, batch[:0])
}

// threadOf returns the five-tuple of the record, and which way it goes.
func threadOf(r *flow.Record) (k threadKey, way int) {
	k.iface, k.status = r.Interface(), r.Status
	if r.Status != flow.OK {
		return k, 0
	}
	t := r.Tuple()
	if !t.Src.IsValid() || !t.Dst.IsValid() {
		t = r.HeaderTuple()
	}
	forward := false
	if k.tuple, forward = t.Canonical(); forward {
		way = 1
	}
	return k, way
}

// merge takes a record that may be merged with the one before it.
func (c *compaction) merge(x *slot) {
	c.slots = append(c.slots, x)
	th := c.threads[x.key]
	if th == nil {
		th = new([2]*slot)
		c.threads[x.key] = th
	}
	before := th[x.way]
	th[x.way] = x
	if x.first = before == nil || !follows(&before.rec, &x.rec); x.first {
		return
	}
	a, b := &before.rec, &x.rec
	if before.first && b.Status == flow.OK && a.End/mergeStep != b.End/mergeStep || b.End-a.Start > mergeSpan {
		return
	}
	x.first, before.dead = before.first, true
	b.Start = a.Start
	b.Packets += a.Packets
	b.Bytes += a.Bytes
	b.TCPFlags |= a.TCPFlags
	b.Merged += a.Merged + 1
}

// follows reports whether b goes on with what a says.
func follows(a, b *flow.Record) bool {
	gap := int64(mergeGap)
	switch {
	case b.Status != flow.OK:
		gap = mergeSpan
	case b.Proto == flow.TCP && b.Has.Has(flow.FieldTCPFlags):
		gap = mergeGapTCP
	}
	return b.Start >= a.End && b.Start-a.End <= gap && Hour.Of(a.Start) == Hour.Of(b.Start) && Hour.Of(a.End) == Hour.Of(b.End) &&
		a.Has == b.Has && a.Src == b.Src && a.Dst == b.Dst && a.SrcPort == b.SrcPort && a.DstPort == b.DstPort &&
		a.PktSrc == b.PktSrc && a.PktDst == b.PktDst && a.Direction == b.Direction && a.FlowLogID == b.FlowLogID &&
		a.InterfaceID == b.InterfaceID && a.ResourceID == b.ResourceID && a.VPCID == b.VPCID && a.SubnetID == b.SubnetID &&
		a.InstanceID == b.InstanceID && a.Packets <= math.MaxInt64-b.Packets && a.Bytes <= math.MaxInt64-b.Bytes &&
		a.Merged < mostMerged-b.Merged
}

// emitBefore gives out the slots of before a time.
func (c *compaction) emitBefore(limit int64) {
	for c.given < len(c.slots) && c.slots[c.given].time < limit && !c.stopped {
		x := c.slots[c.given]
		c.slots[c.given] = nil
		c.given++
		if th := c.threads[x.key]; th != nil && th[x.way] == x {
			if th[x.way] = nil; th[1-x.way] == nil {
				delete(c.threads, x.key)
			}
		}
		c.stopped = !x.dead && !c.emit(x)
		c.free = append(c.free, x)
	}
	if 2*c.given > len(c.slots) {
		c.slots = slices.Delete(c.slots, 0, c.given)
		c.given = 0
	}
}

// compareRecords orders records of one end, those of one flow beside each
// other, by all that a digest has of them.
func compareRecords(a, b *flow.Record) int {
	return cmp.Or(compareFlows(a, b), cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Action, b.Action),
		cmp.Compare(a.Packets, b.Packets), cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.TCPFlags, b.TCPFlags),
		cmp.Compare(a.FlowLogID, b.FlowLogID), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Has, b.Has),
		cmp.Compare(a.ResourceID, b.ResourceID), cmp.Compare(a.VPCID, b.VPCID), cmp.Compare(a.SubnetID, b.SubnetID),
		cmp.Compare(a.InstanceID, b.InstanceID), cmp.Compare(a.RejectReason, b.RejectReason), cmp.Compare(a.Merged, b.Merged))
}

func compareFlows(a, b *flow.Record) int {
	return cmp.Or(cmp.Compare(a.Interface(), b.Interface()), a.Tuple().Compare(b.Tuple()), a.PktSrc.Compare(b.PktSrc),
		a.PktDst.Compare(b.PktDst), cmp.Compare(a.Status, b.Status))
}

// sameFlow reports whether two records of one end are of one flow: one log has
// no two, unless it is delivered twice.
func sameFlow(a, b *flow.Record) bool { return compareFlows(a, b) == 0 }
