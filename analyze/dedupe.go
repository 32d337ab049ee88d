package analyze

import (
	"cmp"
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// dedupe removes what two flow logs on one interface delivered twice, and
// says how many windows went. The result is in time order.
//
// Equal windows are one. Of different windows from different flow logs (60 s
// and 600 s, say) that overlap in time, those of the finer log stay: within
// one flow log the windows of a direction do not overlap.
func dedupe(ws []window) ([]window, int) {
	n := len(ws)
	if byTimes(ws) {
		if !severalLogs(ws) {
			return ws, 0
		}
	} else {
		sortWindows(ws)
	}
	ws = slices.CompactFunc(ws, func(a, b window) bool {
		return a.start == b.start && a.end == b.end && a.forward == b.forward && a.action == b.action &&
			a.packets == b.packets && a.bytes == b.bytes && a.sameHeader(b)
	})
	if severalLogs(ws) {
		ws = preferFiner(ws, logsOf(ws))
	}
	return ws, n - len(ws)
}

// sortWindows sorts windows. They are few, as a rule, and nearly in order.
func sortWindows(ws []window) {
	const few = 16
	if len(ws) > few {
		slices.SortFunc(ws, window.compare)
		return
	}
	for i := 1; i < len(ws); i++ {
		for k := i; k > 0 && ws[k].before(&ws[k-1]); k-- {
			ws[k], ws[k-1] = ws[k-1], ws[k]
		}
	}
}

func (w *window) before(v *window) bool {
	switch {
	case w.start != v.start:
		return w.start < v.start
	case w.end != v.end:
		return w.end < v.end
	case w.forward != v.forward:
		return w.forward
	}
	return w.compare(*v) < 0
}

// byTimes reports whether the windows are in order by their times alone, and
// so no two of them are equal.
func byTimes(ws []window) bool {
	for i := 1; i < len(ws); i++ {
		a, b := &ws[i-1], &ws[i]
		if a.start > b.start || a.start == b.start && (a.end > b.end || a.end == b.end && (!a.forward || b.forward)) {
			return false
		}
	}
	return true
}

func severalLogs(ws []window) bool {
	return slices.ContainsFunc(ws, func(w window) bool { return w.log != ws[0].log })
}

// logsOf returns the flow logs in ws, the preferred first: with header
// addresses, then with more windows, then any, but always the same.
func logsOf(ws []window) []uint32 {
	count, headers := map[uint32]int{}, map[uint32]bool{}
	for _, w := range ws {
		count[w.log]++
		headers[w.log] = headers[w.log] || w.header >= 0
	}
	return slices.SortedFunc(maps.Keys(count), func(a, b uint32) int {
		return cmp.Or(-compareBool(headers[a], headers[b]), -cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	})
}

// preferFiner drops each window that overlaps one of a preferred flow log in
// the same direction and with the same action.
func preferFiner(ws []window, logs []uint32) []window {
	kept := make([]window, 0, len(ws))
	seen := covered{}
	for _, l := range logs {
		before := len(kept)
		for _, w := range ws {
			if w.log == l && !seen.overlaps(w) {
				kept = append(kept, w)
			}
		}
		seen.add(kept[before:])
	}
	slices.SortFunc(kept, window.compare)
	return kept
}

// covered holds the times that windows cover, by what must be equal for two
// windows to be the same traffic.
type covered map[trafficKey][]span

type trafficKey struct {
	forward bool
	action  flow.Action
	header  int32
}

// span is a time from first to last second; the spans of one key are
// disjoint and in order.
type span struct{ first, last int64 }

// add puts in windows that are in time order.
func (c covered) add(ws []window) {
	for _, w := range ws {
		k := trafficKey{w.forward, w.action, w.header}
		c[k] = append(c[k], span{w.start, w.end})
	}
	for k, spans := range c {
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
		merged := spans[:1]
		for _, s := range spans[1:] {
			if last := &merged[len(merged)-1]; s.first <= last.last {
				last.last = max(last.last, s.last)
			} else {
				merged = append(merged, s)
			}
		}
		c[k] = merged
	}
}

// overlaps reports whether traffic that may be the window's is covered at
// some of its time.
func (c covered) overlaps(w window) bool {
	for k, spans := range c {
		if k.forward != w.forward || k.action != w.action || !w.sameHeader(window{header: k.header}) {
			continue
		}
		n, _ := slices.BinarySearchFunc(spans, w.start, func(s span, t int64) int { return cmp.Compare(s.last, t) })
		if n < len(spans) && spans[n].first <= w.end {
			return true
		}
	}
	return false
}

// sameHeader reports whether two windows of a five-tuple can be of one
// connection. At the inside of a NAT gateway a client's port may lead to
// several servers, which only the header addresses keep apart.
func (w window) sameHeader(v window) bool {
	return w.header == v.header || w.header < 0 || v.header < 0
}
