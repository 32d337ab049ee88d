package loggroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/ingest/sourcetest"
)

// epoch is when the events of tests begin.
var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// quick is a pace that does not slow tests down.
func quick() *Pace { return NewPace(1e6) }

func format(t testing.TB, s string) ingest.Format {
	t.Helper()
	f, err := ingest.ParseFormat(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// event is a record of the default format that starts at a time, and lasts
// some seconds.
func event(start time.Time, stream int, lasts, n int) fakeEvent {
	eni := fmt.Sprintf("eni-%04x", stream)
	return fakeEvent{
		Stream: eni + "-all",
		Time:   start.UnixMilli(),
		Message: fmt.Sprintf("2 123456789012 %s 10.0.%d.%d 203.0.113.5 %d 21 6 %d %d %d %d ACCEPT OK",
			eni, stream, n%256, 1024+n%60000, n+1, 40*n+40, start.Unix(), start.Unix()+int64(lasts)),
	}
}

// randomEvents gives n events in about the given time, of times that come in
// bursts, with hours without any.
func randomEvents(rng *rand.Rand, n int, over time.Duration) []fakeEvent {
	var events []fakeEvent
	at := epoch
	for i := range n {
		switch rng.IntN(20) {
		case 0:
			at = at.Add(time.Duration(rng.Int64N(20*int64(over)/int64(n) + 1)))
		case 1:
			at = at.Add(time.Second)
		}
		at = at.Truncate(time.Second)
		events = append(events, event(at, rng.IntN(5), rng.IntN(600), i))
	}
	return events
}

// find finds the fake's group.
func (f *fake) find(place string, opts ingest.Options) *Group {
	f.t.Helper()
	g, err := Find(f.t.Context(), f.client(), place, Options{Pace: quick(), Now: epoch.AddDate(0, 2, 0)}, opts)
	if err != nil {
		f.t.Fatal(err)
	}
	g.pageSize = f.pageEvents
	return g
}

// spelled spells out the steps of a stream.
func spelled(t *testing.T, logs ingest.Source) []string {
	t.Helper()
	var steps []string
	for rec, err := range logs.Records(t.Context()) {
		if err != nil {
			steps = append(steps, err.Error())
			continue
		}
		steps = append(steps, fmt.Sprintf("%+v", *rec))
	}
	return steps
}

// flat is the oracle: the records of the events' lines, as one text.
func flat(t *testing.T, events []fakeEvent, prefix string, opts ingest.Options) []string {
	t.Helper()
	var lines strings.Builder
	for _, e := range events {
		if strings.HasPrefix(e.Stream, prefix) {
			lines.WriteString(e.Message + "\n")
		}
	}
	var steps []string
	for rec, err := range ingest.Text(strings.NewReader(lines.String()), "oracle", opts) {
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, fmt.Sprintf("%+v", *rec))
	}
	return steps
}

func checkSame(t *testing.T, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("step %d: got %s, want %s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d steps, want %d", len(got), len(want))
	}
}

func TestReadsEveryEventOnce(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			over := time.Duration(1+rng.Int64N(100)) * time.Hour
			f := newFake(t, randomEvents(rng, 1+rng.IntN(3000), over))
			f.seed, f.rng = seed, rand.New(rand.NewPCG(seed, 8))
			f.pageEvents = 1 + rng.IntN(200)
			f.emptyPage, f.shortPage = rng.Float64()*0.5, rng.Float64()*0.5
			f.throttled, f.failing, f.cut, f.expired = rng.Float64()*0.1, rng.Float64()*0.1, rng.Float64()*0.05, rng.Float64()*0.1

			opts := ingest.Options{Format: format(t, "default"), Jobs: 1 + rng.IntN(4), ReadAhead: 1 + rng.IntN(20)}
			if rng.IntN(2) == 0 {
				opts.From = epoch.Add(time.Duration(rng.Int64N(int64(over))))
			}
			if rng.IntN(2) == 0 {
				opts.To = epoch.Add(time.Duration(rng.Int64N(int64(over))))
			}
			prefix := []string{"", "eni-", "eni-0002", "eni-0003-all"}[rng.IntN(4)]
			place := strings.TrimSuffix("cloudwatch:vpc-flow-logs:"+prefix, ":")
			g := f.find(place, opts)
			checkSame(t, spelled(t, ingest.Join(opts, g)), flat(t, f.events, prefix, opts))
		})
	}
}

// slicesOf lists g, and checks what ingest.Objects promises.
func slicesOf(t testing.TB, g *Group) []ingest.Object {
	t.Helper()
	var objects []ingest.Object
	share := -1.0
	for o, err := range g.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n := len(objects); n > 0 && o.Start <= objects[n-1].Start {
			t.Fatalf("%s starts at %d, and the slice before at %d", o.Place, o.Start, objects[n-1].Start)
		}
		objects = append(objects, o)
		l := g.Listed()
		if l.Objects != len(objects) || l.Bytes != 0 || l.Share < share || l.Share > 1 {
			t.Fatalf("listed %+v, want %d objects, no bytes, and more than a share of %v", l, len(objects), share)
		}
		share = l.Share
	}
	if l := g.Listed(); l.Share != 1 {
		t.Errorf("all is listed, but the share is %v", l.Share)
	}
	return objects
}

func TestSlicesKeepTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	f := newFake(t, randomEvents(rng, 5000, 30*time.Hour))
	f.pageEvents = 50
	opts := ingest.Options{Format: format(t, "default")}
	g := f.find("cloudwatch:vpc-flow-logs", opts)
	if !g.Ordered() {
		t.Fatal("the group is not ordered")
	}
	objects := slicesOf(t, g)
	if len(objects) < 10 {
		t.Fatalf("%d slices, too few for the test", len(objects))
	}
	n := 0
	for i, o := range objects {
		r, err := o.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for rec, err := range ingest.Text(r, o.Place, opts) {
			n++
			if err != nil {
				t.Fatal(err)
			}
			if rec.End < o.Start || i+1 < len(objects) && rec.End > objects[i+1].Start+900 {
				t.Fatalf("%s, which starts at %d, has a record that ends at %d", o.Place, o.Start, rec.End)
			}
		}
		r.Close()
	}
	if n != len(f.events) {
		t.Errorf("got %d records, want %d", n, len(f.events))
	}
	again := slicesOf(t, g)
	for i, o := range objects {
		if again[i].Place != o.Place || again[i].Start != o.Start {
			t.Fatalf("slice %d is %s, and was %s", i, again[i].Place, o.Place)
		}
	}
}

func TestConformance(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	events := randomEvents(rng, 4000, 20*time.Hour)
	for i := range 20 {
		events[i*100].Message = "START RequestId: 8f5c"
	}
	f := newFake(t, events)
	f.pageEvents, f.emptyPage, f.shortPage = 100, 0.2, 0.2
	f.throttled, f.failing = 0.05, 0.05
	opts := ingest.Options{Format: format(t, "default")}
	f.lonely = true
	sourcetest.Run(t, func(*testing.T) ingest.Source {
		return ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts))
	}, sourcetest.Want{Records: 3980, RecordErrors: 20, Disorder: 660})
}

func TestCallsAreFew(t *testing.T) {
	every := func(gap time.Duration, over time.Duration) []fakeEvent {
		var events []fakeEvent
		for at := time.Duration(0); at < over; at += gap {
			events = append(events, event(epoch.Add(at), 1, 60, len(events)))
		}
		return events
	}
	day := 24 * time.Hour
	tests := []struct {
		name   string
		events []fakeEvent
		atMost int // calls of FilterLogEvents, that for the first event included
	}{
		{"one event", every(day, day), 2},
		{"a quiet month", every(10*time.Minute, 30*day), 2},
		{"a busy hour in an old group", every(time.Hour/50_000, time.Hour), 20},
		{"two busy hours, a month between", append(every(time.Hour/20_000, time.Hour),
			func() []fakeEvent {
				late := every(time.Hour/20_000, time.Hour)
				for i := range late {
					late[i].Time += (30 * day).Milliseconds()
				}
				return late
			}()...), 25},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, test.events)
			opts := ingest.Options{Format: format(t, "default")}
			got := len(spelled(t, ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts))))
			if got != len(test.events) {
				t.Errorf("got %d records, want %d", got, len(test.events))
			}
			t.Logf("%d events: %d calls", got, f.count("FilterLogEvents"))
			if got := f.count("FilterLogEvents"); got > test.atMost {
				t.Errorf("%d calls of FilterLogEvents, want at most %d:\n%s", got, test.atMost, strings.Join(f.asked, "\n"))
			}
		})
	}
}

func TestPace(t *testing.T) {
	f := newFake(t, randomEvents(rand.New(rand.NewPCG(3, 3)), 2000, time.Hour))
	f.pageEvents, f.throttled = 100, 0.2
	opts := ingest.Options{Format: format(t, "default")}
	const perSecond = 100
	g, err := Find(t.Context(), f.client(), "cloudwatch:vpc-flow-logs", Options{Pace: NewPace(perSecond), Now: epoch.AddDate(0, 1, 0)}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(spelled(t, ingest.Join(opts, g))); n != 2000 {
		t.Fatalf("got %d records, want 2000", n)
	}
	took := f.times[len(f.times)-1].Sub(f.times[0])
	if least := time.Duration(len(f.times)-2) * time.Second / perSecond; took < least {
		t.Errorf("%d calls in %v, want them to take %v", len(f.times), took, least)
	}
}

func TestPagesAhead(t *testing.T) {
	var events []fakeEvent
	for i := range 3000 {
		events = append(events, event(epoch, 1, 0, i)) // one second: one slice
	}
	f := newFake(t, events)
	f.pageEvents = 100
	g := f.find("cloudwatch:vpc-flow-logs", ingest.Options{Format: format(t, "default")})
	objects := slicesOf(t, g)
	if len(objects) != 1 {
		t.Fatalf("%d slices, want 1", len(objects))
	}
	listed := f.count("FilterLogEvents")
	r, err := objects[0].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ahead := func() int { // the client may have to ask for one again
		pages := map[string]bool{}
		for _, attempt := range f.askedSince(listed) {
			_, body, _ := strings.Cut(attempt, "{")
			pages[body] = true
		}
		return len(pages)
	}
	eventually(t, func() bool { return ahead() == 2 })
	time.Sleep(50 * time.Millisecond)
	if n := ahead(); n != 2 {
		t.Errorf("%d pages were read ahead, want 2: %q", n, f.askedSince(listed))
	}
	text, err := io.ReadAll(r)
	if n := strings.Count(string(text), "\n"); err != nil || n != 3000 {
		t.Errorf("got %d lines and %v, want 3000", n, err)
	}
}

// eventually waits until ok is true.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("waited in vain")
}

func TestOpenTwice(t *testing.T) {
	f := newFake(t, randomEvents(rand.New(rand.NewPCG(4, 4)), 500, time.Hour))
	f.pageEvents = 60
	for _, o := range slicesOf(t, f.find("cloudwatch:vpc-flow-logs", ingest.Options{Format: format(t, "default")})) {
		var texts []string
		for range 2 {
			r, err := o.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
			r.Close()
		}
		if texts[0] != texts[1] {
			t.Fatalf("%s reads otherwise the second time", o.Place)
		}
	}
}

func TestTimeRange(t *testing.T) {
	day := 24 * time.Hour
	at := func(d time.Duration) fakeEvent { return event(epoch.Add(d), 1, 500, 0) }
	tests := []struct {
		name      string
		from, to  time.Duration // from epoch; 0 is none
		now       time.Duration
		events    []fakeEvent
		retention int
		want      int // records
		filters   int // calls of FilterLogEvents
		groups    int // calls of DescribeLogGroups
	}{
		{"all", 0, 0, day, []fakeEvent{at(0), at(time.Hour)}, 0, 2, 2, 1},
		{"none", 0, 0, day, nil, 0, 0, 1, 1},
		{"up to now, and not beyond", 0, 0, time.Hour, []fakeEvent{at(0), at(time.Hour - 1), at(time.Hour)}, 0, 2, 2, 1},
		{"a record that starts before from and ends behind it", 400 * time.Second, 0, day, []fakeEvent{at(0)}, 0, 1, 2, 0},
		{"a record that ends before from", 501 * time.Second, 0, day, []fakeEvent{at(0)}, 0, 0, 2, 0},
		{"long before from", day, 0, 2 * day, []fakeEvent{at(0)}, 0, 0, 1, 0},
		{"to is excluded", 0, time.Hour, day, []fakeEvent{at(time.Hour - time.Second), at(time.Hour)}, 0, 1, 2, 1},
		{"from behind to", 2 * time.Hour, time.Hour, day, []fakeEvent{at(0)}, 0, 0, 0, 0},
		{"what the retention hides is not asked for", 0, 0, 4 * day, []fakeEvent{at(0), at(3 * day)}, 3, 1, 2, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, test.events)
			f.retention = test.retention
			opts := ingest.Options{Format: format(t, "default")}
			if test.from != 0 {
				opts.From = epoch.Add(test.from)
			}
			if test.to != 0 {
				opts.To = epoch.Add(test.to)
			}
			now := epoch.Add(test.now)
			if test.retention > 0 {
				now = now.Add(time.Second)
			}
			g, err := Find(t.Context(), f.client(), "cloudwatch:vpc-flow-logs", Options{Pace: quick(), Now: now}, opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(spelled(t, ingest.Join(opts, g))); got != test.want {
				t.Errorf("got %d records, want %d", got, test.want)
			}
			if got := f.count("FilterLogEvents"); got != test.filters {
				t.Errorf("got %d calls of FilterLogEvents, want %d", got, test.filters)
			}
			if got := f.count("DescribeLogGroups"); got != test.groups {
				t.Errorf("got %d calls of DescribeLogGroups, want %d", got, test.groups)
			}
		})
	}
}

func TestFindErrors(t *testing.T) {
	denied := func(call string) func(http.ResponseWriter, string, *request) bool {
		return func(w http.ResponseWriter, c string, _ *request) bool {
			if c == call {
				refuse(w, "AccessDeniedException", "User: u is not authorized to perform: logs:"+call)
			}
			return c == call
		}
	}
	always := func(code string) func(http.ResponseWriter, string, *request) bool {
		return func(w http.ResponseWriter, _ string, _ *request) bool {
			refuse(w, code, "no")
			return true
		}
	}
	tests := []struct {
		name, place string
		answer      func(http.ResponseWriter, string, *request) bool
		want        string // part of the error; empty for none
	}{
		{"fine", "cloudwatch:vpc-flow-logs", nil, ""},
		{"by ARN", "cloudwatch:arn:aws:logs:us-east-1:123456789012:log-group:vpc-flow-logs:*", nil, ""},
		{"DescribeLogGroups is denied", "cloudwatch:vpc-flow-logs", denied("DescribeLogGroups"), ""},
		{"not there, one like it", "cloudwatch:vpc-flow-log", nil, "cloudwatch:vpc-flow-log: no such log group; check the name, and the region (--region); there are vpc-flow-logs"},
		{"not there, none like it", "cloudwatch:other", nil, "no such log group; check the name, and the region (--region)"},
		{"not there, not to be listed", "cloudwatch:vpc-flow-log", denied("DescribeLogGroups"), "no such log group"},
		{"denied", "cloudwatch:vpc-flow-logs", denied("FilterLogEvents"), "access denied; the IAM action logs:FilterLogEvents on this log group is needed"},
		{"throttled", "cloudwatch:vpc-flow-logs", always("ThrottlingException"), "throttled again and again"},
		{"credentials", "cloudwatch:vpc-flow-logs", always("UnrecognizedClientException"), "refuses the credentials; sign in again"},
		{"no stream", "cloudwatch:vpc-flow-logs:eni-ffff", nil, `no stream whose name begins with "eni-ffff"`},
		{"no stream, not to be listed", "cloudwatch:vpc-flow-logs:eni-ffff", denied("DescribeLogStreams"), ""},
		{"bad place", "cloudwatch:", nil, "name of the log group is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, []fakeEvent{event(epoch, 1, 60, 1)})
			f.answer = test.answer
			_, err := Find(t.Context(), f.client(), test.place, Options{Pace: quick()}, ingest.Options{Format: format(t, "default")})
			checkError(t, err, test.want)
		})
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got error %q, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got error %q, want %q in it", fmt.Sprint(err), want)
	}
}

// TestObjectErrors lets a time of the group fail. The other slices go on.
func TestObjectErrors(t *testing.T) {
	sick := epoch.Add(10 * time.Hour)
	isSick := func(in *request) bool {
		return *in.EndTime >= sick.UnixMilli() && *in.StartTime < sick.Add(time.Minute).UnixMilli()
	}
	tests := []struct {
		code   string
		paged  bool // fails only behind the first page of a slice
		fault  flow.Fault
		errors int
	}{
		{"ServiceUnavailableException", false, flow.Unreachable, 1},
		{"ServiceUnavailableException", true, flow.Unreachable, 1},
		{"AccessDeniedException", true, flow.Denied, 1},
		{"ResourceNotFoundException", true, flow.Gone, 1},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.code, test.paged), func(t *testing.T) {
			var events []fakeEvent
			for i := range 20_000 {
				events = append(events, event(epoch.Add(time.Duration(i)*3600*time.Millisecond), 1, 60, i))
			}
			f := newFake(t, events)
			f.pageEvents = 100
			opts := ingest.Options{Format: format(t, "default")}
			g := f.find("cloudwatch:vpc-flow-logs", opts)
			f.answer = func(w http.ResponseWriter, _ string, in *request) bool {
				span := *in.EndTime - *in.StartTime
				if !isSick(in) || span > time.Hour.Milliseconds() || test.paged && in.NextToken == "" {
					return false
				}
				refuse(w, test.code, "no")
				return true
			}
			var faults []flow.Fault
			records := 0
			var last int64
			for rec, err := range ingest.Join(opts, g).Records(t.Context()) {
				var object *flow.ObjectError
				switch {
				case errors.As(err, &object):
					faults = append(faults, object.Fault)
					if want := "cloudwatch:vpc-flow-logs from 2026-11-22T"; !strings.HasPrefix(object.Error(), want) {
						t.Errorf("got %q, want it to begin with %q", object, want)
					}
				case err != nil:
					t.Fatal(err)
				default:
					records++
					last = rec.Start
				}
			}
			if len(faults) != test.errors || faults[0] != test.fault {
				t.Errorf("got faults %v, want %d of %v", faults, test.errors, test.fault)
			}
			if missing := len(events) - records; missing == 0 || missing > 2000 {
				t.Errorf("%d records are missing, want some and not many", missing)
			}
			if want := events[len(events)-1].Time / 1000; last != want {
				t.Errorf("the last record starts at %d, want %d", last, want)
			}
		})
	}
}

// TestGivesUp lets everything fail after the group was found.
func TestGivesUp(t *testing.T) {
	tests := []struct {
		code   string
		errors int
		fault  flow.Fault
	}{
		{"ThrottlingException", maxFailures, flow.Unreachable},
		{"AccessDeniedException", 1, flow.Denied},
		{"ResourceNotFoundException", 1, flow.Gone},
	}
	for _, test := range tests {
		t.Run(test.code, func(t *testing.T) {
			f := newFake(t, randomEvents(rand.New(rand.NewPCG(5, 5)), 1000, 100*time.Hour))
			opts := ingest.Options{Format: format(t, "default")}
			g := f.find("cloudwatch:vpc-flow-logs", opts)
			f.answer = func(w http.ResponseWriter, _ string, _ *request) bool {
				refuse(w, test.code, "no")
				return true
			}
			n := 0
			for _, err := range ingest.Join(opts, g).Records(t.Context()) {
				var object *flow.ObjectError
				if !errors.As(err, &object) || object.Fault != test.fault {
					t.Fatalf("got %v, want an object's error of fault %v", err, test.fault)
				}
				n++
			}
			if n != test.errors {
				t.Errorf("got %d errors, want %d", n, test.errors)
			}
			if share := g.Listed().Share; share != 1 {
				t.Errorf("the share listed is %v, want 1", share)
			}
		})
	}
}

func TestEndlessPages(t *testing.T) {
	tests := []struct {
		name string
		turn func(f *fake, w http.ResponseWriter, n int)
		want string
	}{
		{"the same token", func(f *fake, w http.ResponseWriter, _ int) {
			respond(w, map[string]any{"events": f.events[:1], "nextToken": "again"})
		}, "the same page again and again"},
		{"two tokens in turn", func(f *fake, w http.ResponseWriter, n int) {
			respond(w, map[string]any{"events": f.events[n%2 : n%2+1], "nextToken": fmt.Sprint(n % 2)})
		}, "the same page again and again"},
		{"empty pages for ever", func(_ *fake, w http.ResponseWriter, n int) {
			respond(w, map[string]any{"events": []any{}, "nextToken": fmt.Sprint(n)})
		}, "10000 pages in a row are empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, []fakeEvent{event(epoch, 1, 60, 1), event(epoch, 1, 60, 2)})
			n := 0
			f.answer = func(w http.ResponseWriter, call string, _ *request) bool {
				if call == "FilterLogEvents" {
					n++
					test.turn(f, w, n)
				}
				return call == "FilterLogEvents"
			}
			g := newGroup(f.client(), Place{Group: f.group}, quick())
			p := g.pager(0, epoch.UnixMilli()+1)
			events := 0
			for {
				page, err := p.next(t.Context())
				events += len(page)
				if err != nil {
					checkError(t, err, test.want)
					break
				}
			}
			if events > 2 {
				t.Errorf("got %d events of 2", events)
			}
		})
	}
}

func TestRepeatedEvents(t *testing.T) {
	f := newFake(t, randomEvents(rand.New(rand.NewPCG(6, 6)), 300, time.Hour))
	page := func(from, to int, token string) map[string]any {
		body := map[string]any{"events": f.events[from:to]}
		if token != "" {
			body["nextToken"] = token
		}
		return body
	}
	f.answer = func(w http.ResponseWriter, call string, in *request) bool {
		if call != "FilterLogEvents" || in.Limit > 0 {
			return false
		}
		switch in.NextToken {
		case "":
			respond(w, page(0, 120, "b"))
		case "b":
			respond(w, page(100, 200, "c")) // twenty once more
		case "c":
			respond(w, page(100, 200, "d")) // nothing new
		case "d":
			respond(w, page(190, 300, ""))
		}
		return true
	}
	opts := ingest.Options{Format: format(t, "default")}
	got := spelled(t, ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts)))
	checkSame(t, got, flat(t, f.events, "", opts))
}

func TestUnsortedPage(t *testing.T) {
	f := newFake(t, randomEvents(rand.New(rand.NewPCG(7, 7)), 300, time.Hour))
	f.answer = func(w http.ResponseWriter, call string, in *request) bool {
		if call != "FilterLogEvents" || in.Limit > 0 {
			return false
		}
		events := slices.Clone(f.events)
		slices.SortStableFunc(events, func(a, b fakeEvent) int { return strings.Compare(a.Stream, b.Stream) })
		respond(w, map[string]any{"events": events})
		return true
	}
	opts := ingest.Options{Format: format(t, "default")}
	var last int64
	for rec, err := range ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts)).Records(t.Context()) {
		if err != nil || rec.Start < last {
			t.Fatalf("got a start of %d behind one of %d, and %v", rec.Start, last, err)
		}
		last = rec.Start
	}
}

// TestOldToken has every token refused after it was used once, or given up
// for its age.
func TestOldToken(t *testing.T) {
	for _, life := range []time.Duration{tokenLife, 0} {
		f := newFake(t, randomEvents(rand.New(rand.NewPCG(8, 8)), 2000, time.Hour))
		f.pageEvents = 250
		f.expired = 0.5
		opts := ingest.Options{Format: format(t, "default")}
		g := f.find("cloudwatch:vpc-flow-logs", opts)
		g.tokenLife = life
		checkSame(t, spelled(t, ingest.Join(opts, g)), flat(t, f.events, "", opts))
	}
}

func TestOddEvents(t *testing.T) {
	good := event(epoch, 1, 60, 1)
	long := strings.Repeat("x", 256<<10)
	tests := []struct {
		name    string
		stream  string
		message string
		text    string // of the error, in part; empty for none
	}{
		{"JSON", "lambda/1", `{"level":"info","message":"2 123 eni-1"}`, "3 fields"},
		{"JSON behind blanks", "lambda/1", "  \t{\"a\": [1, 2]}", "fields"},
		{"the mark of Parquet", "lambda/1", "PAR1", "1 field"},
		{"NUL", "lambda/1", "a\x00b", "1 field"},
		{"two lines", "eni-0001-all", good.Message + "\n" + good.Message, "27 fields"},
		{"two lines of Windows", "eni-0001-all", good.Message + "\r\n" + good.Message + "\r\n", "27 fields"},
		{"as long as can be", "lambda/1", long, "1 field"},
		{"empty", "lambda/1", "", ""},
		{"blank", "lambda/1", "  ", ""},
		{"line ends only", "lambda/1", "\r\n\n", ""},
		{"line end behind", "eni-0001-all", good.Message + "\n", ""},
		{"words", "lambda/1", "START RequestId: 8f5c Version: 1", "5 fields"},
		{"a bad value", "eni-0001-all", strings.Replace(good.Message, " 21 ", " 70000 ", 1), "dstport"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			odd := good
			odd.Stream, odd.Message = test.stream, test.message
			for _, events := range [][]fakeEvent{{odd, good, good}, {good, odd, good}, {good, good, odd}} {
				f := newFake(t, events)
				opts := ingest.Options{Format: format(t, "default")}
				want, wantErrors := 2, 0
				if test.text != "" {
					wantErrors = 1
				} else if strings.HasPrefix(test.message, "2 ") {
					want = 3
				}
				id := fmt.Sprintf("%056d", 1+slices.IndexFunc(events, func(e fakeEvent) bool { return e.Message == test.message }))
				records, failures := 0, 0
				for _, err := range ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts)).Records(t.Context()) {
					var bad *flow.RecordError
					switch {
					case err == nil:
						records++
					case errors.As(err, &bad):
						failures++
						place := "cloudwatch:vpc-flow-logs: stream " + test.stream + ": event " + id
						if bad.Place != place || bad.Line != 0 {
							t.Errorf("got place %q, line %d, want %q and no line", bad.Place, bad.Line, place)
						}
						checkError(t, err, test.text)
					default:
						t.Fatal(err)
					}
				}
				if records != want || failures != wantErrors {
					t.Errorf("got %d records and %d bad ones, want %d and %d", records, failures, want, wantErrors)
				}
			}
		})
	}
}

// TestLineNames has many bad lines in a slice of many pages, and each is to
// be named right.
func TestLineNames(t *testing.T) {
	var events []fakeEvent
	for i := range 30_000 {
		e := event(epoch, i%7, 60, i)
		if i%3 == 0 {
			e.Message = fmt.Sprintf("bad %d %s", i, strings.Repeat("y", i%900))
		}
		events = append(events, e)
	}
	f := newFake(t, events)
	f.pageEvents, f.emptyPage, f.shortPage = 500, 0.1, 0.3
	opts := ingest.Options{Format: format(t, "default")}
	n := 0
	for _, err := range ingest.Join(opts, f.find("cloudwatch:vpc-flow-logs", opts)).Records(t.Context()) {
		var bad *flow.RecordError
		if err == nil {
			continue
		}
		if !errors.As(err, &bad) {
			t.Fatal(err)
		}
		var i int
		fmt.Sscanf(bad.Text, "bad %d", &i)
		if want := fmt.Sprintf("stream %s: event %s", f.events[i].Stream, f.events[i].ID); !strings.HasSuffix(bad.Place, want) {
			t.Fatalf("got %q for event %d, want %q", bad.Place, i, want)
		}
		n++
	}
	if n != 10_000 {
		t.Errorf("got %d bad lines, want 10000", n)
	}
}

// TestNamesAreForgotten reads a long slice, and looks at what is kept of it.
func TestNamesAreForgotten(t *testing.T) {
	r := &reader{slice: &slice{group: &Group{}}}
	text := []byte(strings.Repeat("x", 1<<20))
	for range 100 {
		r.use(&page{text: text, events: make([]eventName, 1)})
	}
	if n := len(r.named); n > 4 {
		t.Errorf("%d pages of 1 MiB are kept, want 4 at most", n)
	}
}

// TestBoundedWaits lets the server hang.
func TestBoundedWaits(t *testing.T) {
	hang := func(f *fake) {
		f.answer = func(_ http.ResponseWriter, _ string, in *request) bool {
			time.Sleep(100 * time.Millisecond)
			return false
		}
	}
	t.Run("an attempt", func(t *testing.T) {
		f := newFake(t, []fakeEvent{event(epoch, 1, 60, 1)})
		hang(f)
		g := newGroup(f.client(), Place{Group: f.group}, quick())
		g.timeout = 5 * time.Millisecond
		err := g.find(t.Context(), &Options{}, &ingest.Options{From: epoch, Format: format(t, "default")})
		checkError(t, err, "no answer for 5ms")
		// An attempt can be over before its request has come to the server.
		if n := f.count("FilterLogEvents"); n < maxAttempts/2 || n > maxAttempts {
			t.Errorf("got %d attempts, want %d", n, maxAttempts)
		}
	})
	t.Run("cancelled in Find", func(t *testing.T) {
		f := newFake(t, []fakeEvent{event(epoch, 1, 60, 1)})
		f.throttled = 1
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := Find(ctx, f.client(), "cloudwatch:vpc-flow-logs", Options{Pace: NewPace(1)}, ingest.Options{From: epoch})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
			t.Errorf("got %v after %v, want the context's error at once", err, time.Since(began))
		}
	})
	t.Run("cancelled while reading", func(t *testing.T) {
		f := newFake(t, randomEvents(rand.New(rand.NewPCG(9, 9)), 1000, time.Hour))
		opts := ingest.Options{Format: format(t, "default")}
		g := f.find("cloudwatch:vpc-flow-logs", opts)
		hung := make(chan struct{})
		f.answer = func(http.ResponseWriter, string, *request) bool { <-hung; return false }
		t.Cleanup(func() { close(hung) })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		var last error
		for _, err := range ingest.Join(opts, g).Records(ctx) {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) || time.Since(began) > time.Second {
			t.Errorf("got %v after %v, want the context's error at once", last, time.Since(began))
		}
	})
}

// busyHour gives n events, evenly over an hour.
func busyHour(n int) []fakeEvent {
	var events []fakeEvent
	for i := range n {
		events = append(events, event(epoch.Add(time.Duration(i)*time.Hour/time.Duration(n)), i%50, 60, i))
	}
	return events
}

func BenchmarkRecords(b *testing.B) {
	events := busyHour(100_000)
	f := newFake(b, events)
	client := f.client()
	opts := ingest.Options{Format: format(b, "default")}
	for b.Loop() {
		g, err := Find(b.Context(), client, "cloudwatch:vpc-flow-logs", Options{Pace: quick(), Now: epoch.AddDate(0, 1, 0)}, opts)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for _, err := range ingest.Join(opts, g).Records(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != len(events) {
			b.Fatalf("got %d records, want %d", n, len(events))
		}
	}
	b.ReportMetric(float64(len(events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportAllocs()
}

// BenchmarkOpenSlice opens all slices of a busy hour at once, reads none of
// them, and reports what each takes in memory with its three pages.
func BenchmarkOpenSlice(b *testing.B) {
	f := newFake(b, busyHour(100_000))
	g := f.find("cloudwatch:vpc-flow-logs", ingest.Options{Format: format(b, "default")})
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC() // of what pools hold
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := inUse()
		objects := slicesOf(b, g)
		var open []io.Closer
		for _, o := range objects {
			r, err := o.Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			open = append(open, r)
		}
		calls := -1
		eventually(b, func() bool {
			last := calls
			calls = f.count("FilterLogEvents")
			time.Sleep(500 * time.Millisecond)
			return last == calls
		})
		b.ReportMetric(float64(max(before, inUse())-before)/float64(len(objects))/1e6, "MB/slice")
		for _, r := range open {
			_ = r.Close()
		}
	}
}
