package questions

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"ephemera/ingest/flow"
)

// before is how long before a pair's first control record its records count,
// in seconds.
const before = 900

// late is how many seconds a record can end before another one that came
// earlier, in an ordered log. See ingest.Logs.Ordered.
const late = 900

// The bounds of the aggregation interval, in seconds: a record's end is at
// most so long after its start.
// Source: VPC User Guide, "Flow logs", aggregation interval.
const (
	minInterval = 60
	maxInterval = 600
)

// errLate is the error of a log that breaks the promise of its order, where
// that may have cost a record.
var errLate = errors.New("a control record came too late")

// sessions aggregates the records of FTP pairs.
//
// Whether a record counts depends on control records that may come after it,
// so records wait in a queue. A record that ends at e counts if its pair has
// a control record that starts at e+900 or before. Such a control record ends
// at most one aggregation interval after that, so not after e+900+interval;
// and once a record that ends at n has come, all that come later end at
// n-late or after. So when n-late > e+900+interval, the control records that
// could make the record count have come, and the queue lets it go: memory
// follows the traffic of 1800 s and an interval.
//
// The interval is taken from the log. It and the order are promises, and a
// log can break them: lost is the greatest end of all records that were
// decided, and a pair whose first time turns out to be at lost+900 or before
// gives errLate. If no pair does, then each record that was left out ends
// before its pair's final first time minus 900, and so does not count in any
// case; one that was counted had a first time that was early enough, and
// first times only move to earlier. So the answer is right whatever the log
// holds. In a log that promises no order, all records wait for its end.
type sessions struct {
	pairs    *pairs
	queue    queue
	flows    *flows
	ordered  bool
	newest   int64 // greatest end that has come
	interval int64 // longest record that has come, within the bounds
	lost     int64 // greatest end that was decided
}

func newSessions(ordered bool) *sessions {
	return &sessions{
		pairs: newPairs(), queue: queue{chunkLen: heldLen}, flows: newFlows(), ordered: ordered,
		newest: math.MinInt64, interval: minInterval, lost: math.MinInt64,
	}
}

// add takes r, a TCP record at the interface of a number. It returns errLate
// or nil.
func (s *sessions) add(interfaceNumber uint32, r *flow.Record) error {
	if control(r) && s.pairs.see(r.Src, r.Dst, r.Start) && s.lost != math.MinInt64 && r.Start <= s.lost+before {
		return errLate
	}
	s.newest = max(s.newest, r.End)
	if length := r.End - r.Start; length > s.interval {
		s.interval = min(length, maxInterval)
	}
	if began := s.queue.add(interfaceNumber, r); began && s.ordered {
		s.queue.take(s.newest-late-before-s.interval, s.decide)
	}
	return nil
}

// end tells that there are no more records.
func (s *sessions) end() { s.queue.take(math.MaxInt64, s.decide) }

// control reports whether r, of TCP, is of an FTP control connection.
func control(r *flow.Record) bool {
	return r.DstPort == 21 || r.SrcPort == 21 || r.DstPort == 990 || r.SrcPort == 990
}

// decide counts those records of c that are of FTP pairs.
func (s *sessions) decide(c *heldChunk) {
	s.lost = max(s.lost, c.newest)
	for i := range c.narrow {
		if h := &c.narrow[i]; s.pairs.may(hashHosts4(uint32(h.hosts>>32), uint32(h.hosts))) {
			s.decideNarrow(h)
		}
	}
	for i := range c.wide {
		w := &c.wide[i]
		if s.counts(w.key.src, w.key.dst, w.sums.end) {
			s.flows.put(w.key, w.sums)
		}
	}
}

func (s *sessions) decideNarrow(h *held) {
	k := h.key()
	if wide := k.wide(); s.counts(wide.src, wide.dst, h.end()) {
		*s.flows.next4(k) = h.sums()
	}
}

// counts reports whether a record between a and b that ends at end counts,
// by the first times that are known.
func (s *sessions) counts(a, b flow.Addr, end int64) bool {
	if !s.pairs.may(hashHosts(a, b)) {
		return false
	}
	since, ok := s.pairs.since(a, b)
	return ok && end >= since
}

// write writes sessions.csv.
func (s *sessions) write(w *csvWriter, seen *interfaces) {
	w.header("interface_id,srcaddr,dstaddr,srcport,dstport,action,records,packets,bytes,start,end")
	names := seen.ranking()
	numbers, hosts := s.hosts()
	for _, row := range s.rows(names, numbers, hosts) {
		w.text(names.sorted[row.interfaceSrc>>32])
		w.text(hosts.sorted[uint32(row.interfaceSrc)])
		w.text(hosts.sorted[row.dstPorts>>32])
		w.number(row.dstPorts >> 16 & 0xffff)
		w.number(row.dstPorts & 0xffff)
		w.text(row.action.String())
		w.number(row.sums.records)
		w.number(row.sums.packets)
		w.number(row.sums.bytes)
		w.time(row.sums.start)
		w.time(row.sums.end)
		w.end()
	}
}

// session is a row of sessions.csv, in 32 bytes since there can be many.
// Texts are their ranks, so that rows compare by a few words.
type session struct {
	interfaceSrc uint64 // ranks of interface and source
	dstPorts     uint64 // rank of destination, source port, destination port
	action       flow.Action
	sums         *sums
}

// compare orders sessions by their columns. The actions' numbers are in the
// order of their texts.
func (s *session) compare(t *session) int {
	switch {
	case s.interfaceSrc != t.interfaceSrc:
		return cmp.Compare(s.interfaceSrc, t.interfaceSrc)
	case s.dstPorts != t.dstPorts:
		return cmp.Compare(s.dstPorts, t.dstPorts)
	}
	return cmp.Compare(s.action, t.action)
}

// rows returns the rows in order. numbers are those of addresses, whose texts
// hosts ranks; names ranks the interfaces'.
func (s *sessions) rows(names ranking, numbers map[flow.Addr]int, hosts ranking) []session {
	rows := make([]session, 0, s.flows.len())
	for k, sum := range s.flows.all() {
		rows = append(rows, session{
			interfaceSrc: packHosts(names.ranks[k.interfaceNumber()], hosts.ranks[numbers[k.src]]),
			dstPorts:     packFlow(hosts.ranks[numbers[k.dst]], k.srcPort(), k.dstPort()),
			action:       k.action(),
			sums:         sum,
		})
	}
	slices.SortFunc(rows, func(a, b session) int { return a.compare(&b) })
	return rows
}

// hosts numbers the hosts of all pairs, and ranks their texts.
func (s *sessions) hosts() (map[flow.Addr]int, ranking) {
	numbers := map[flow.Addr]int{}
	var texts []string
	for p := range s.pairs.first {
		for _, a := range [...]flow.Addr{p.low, p.high} {
			if _, known := numbers[a]; !known {
				numbers[a] = len(texts)
				texts = append(texts, text(a))
			}
		}
	}
	return numbers, rank(texts)
}

// text writes an address as flow logs do. A record of status OK has its
// addresses, so the zero Addr stands for "::".
func text(a flow.Addr) string {
	if !a.IsValid() {
		return "::"
	}
	return a.String()
}
