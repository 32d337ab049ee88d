package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"ephemera/analyze"
)

// outcomes is the order in which outcomes are stacked and listed.
var outcomes = []analyze.Outcome{
	analyze.OutcomeOK, analyze.OutcomeBlocked, analyze.OutcomeRefused,
	analyze.OutcomeNoAnswer, analyze.OutcomeNoData, analyze.OutcomeIdleTimeout,
	analyze.OutcomeIncomplete,
}

// timeline counts sessions by their start and outcome.
type timeline struct {
	Step   string   `json:"step"`   // the length of an interval, in words
	Labels []string `json:"labels"` // the starts of the intervals, UTC
	Series []series `json:"series"`
}

type series struct {
	Outcome string `json:"outcome"`
	Counts  []int  `json:"counts"`
}

// interval is a length that a timeline can be cut into.
type interval struct {
	seconds int64
	words   string
	layout  string
}

const (
	clock     = "15:04:05"
	hourOfDay = "15:04"
	dayHour   = "Jan 2 15:04"
	day       = "2006-01-02"
	maxBars   = 60
)

// intervals are tried from the shortest on until at most maxBars are needed.
var intervals = []interval{
	{1, "1 second", clock}, {5, "5 seconds", clock}, {15, "15 seconds", clock},
	{60, "1 minute", hourOfDay}, {300, "5 minutes", hourOfDay}, {900, "15 minutes", hourOfDay},
	{3600, "1 hour", dayHour}, {4 * 3600, "4 hours", dayHour}, {86400, "1 day", day},
	{7 * 86400, "7 days", day}, {30 * 86400, "30 days", day}, {365 * 86400, "365 days", day},
}

func newTimeline(sessions *analyze.Rows[analyze.Session]) timeline {
	if sessions.Len() == 0 {
		return timeline{Labels: []string{}, Series: []series{}}
	}
	first, last := analyze.Time(math.MaxInt64), analyze.Time(0)
	for s := range sessions.All() {
		first, last = min(first, s.Start), max(last, s.Start)
	}
	step := stepFor(int64(last - first))
	origin := int64(first) - int64(first)%step.seconds
	bars := int((int64(last)-origin)/step.seconds) + 1
	return timeline{step.words, barLabels(origin, step, bars), countOutcomes(sessions, origin, step.seconds, bars)}
}

func stepFor(span int64) interval {
	for _, step := range intervals {
		if span/step.seconds < maxBars {
			return step
		}
	}
	return intervals[len(intervals)-1]
}

func barLabels(origin int64, step interval, bars int) []string {
	labels := make([]string, bars)
	for i := range labels {
		labels[i] = time.Unix(origin+int64(i)*step.seconds, 0).UTC().Format(step.layout)
	}
	return labels
}

// countOutcomes gives a series for each outcome that occurs.
func countOutcomes(sessions *analyze.Rows[analyze.Session], origin, step int64, bars int) []series {
	counts := map[analyze.Outcome][]int{}
	for s := range sessions.All() {
		if counts[s.Outcome] == nil {
			counts[s.Outcome] = make([]int, bars)
		}
		counts[s.Outcome][(int64(s.Start)-origin)/step]++
	}
	all := make([]series, 0, len(counts))
	for _, o := range outcomes {
		if counts[o] != nil {
			all = append(all, series{string(o), counts[o]})
		}
	}
	return all
}

// rejectCount is the rejected flows of one cause.
type rejectCount struct {
	Cause   string `json:"cause"`
	Rule    string `json:"rule"` // the entry or the groups, in words
	Flows   int    `json:"flows"`
	Packets uint64 `json:"packets"`
}

// countRejects counts rejected flows by what rejected them, most first.
func countRejects(rejects *analyze.Rows[analyze.RejectedFlow]) []rejectCount {
	type rule struct {
		cause     analyze.Cause
		id        string
		number    int
		isDefault bool
	}
	type words struct{ cause, rule string }
	byRule, byWords := map[rule]*rejectCount{}, map[words]*rejectCount{}
	var f analyze.RejectedFlow
	for range rejects.Each(&f) {
		k := rule{f.Cause, f.CauseID, f.RuleNumber, f.RuleDefault}
		c := byRule[k]
		if c == nil {
			w := words{string(f.Cause), ruleWords(f)}
			if byWords[w] == nil {
				byWords[w] = &rejectCount{Cause: w.cause, Rule: w.rule}
			}
			c = byWords[w]
			byRule[k] = c
		}
		c.Flows++
		c.Packets += f.Packets
	}
	counts := make([]rejectCount, 0, len(byWords))
	for _, c := range byWords {
		counts = append(counts, *c)
	}
	slices.SortFunc(counts, func(x, y rejectCount) int {
		return cmp.Or(cmp.Compare(y.Flows, x.Flows), cmp.Compare(x.Cause, y.Cause), cmp.Compare(x.Rule, y.Rule))
	})
	return counts
}

// ruleWords names what rejected f: "acl-0a1 rule *".
func ruleWords(f analyze.RejectedFlow) string {
	switch {
	case f.CauseID == "":
		return ""
	case f.RuleDefault:
		return f.CauseID + " rule *"
	case f.RuleNumber > 0:
		return f.CauseID + " rule " + strconv.Itoa(f.RuleNumber)
	}
	return f.CauseID
}
