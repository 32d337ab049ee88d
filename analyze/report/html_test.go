package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ephemera/analyze"
)

// hostileResult is the fixture with the hostile text in every text field
// and list item.
func hostileResult() *analyze.Result {
	r := fixture()
	fillText(reflect.ValueOf(r).Elem())
	r.Findings[0].Severity = analyze.Broken
	r.Sessions, r.Data = filled(r.Sessions), filled(r.Data)
	r.Mappings, r.Rejects = filled(r.Mappings), filled(r.Rejects)
	r.Replay.Changed = filled(r.Replay.Changed)
	return r
}

func filled[T any](rows *analyze.Rows[T]) *analyze.Rows[T] {
	all := slices.Collect(rows.All())
	fillText(reflect.ValueOf(all))
	return analyze.RowsOf(all...)
}

func fillText(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Pointer:
		if !v.IsNil() {
			fillText(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			fillText(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fillText(v.Field(i))
			}
		}
	}
}

func TestHostileTextStaysInside(t *testing.T) {
	page := string(withoutLibraries(render(t, WriteHTML, hostileResult())))
	if got, want := strings.Count(page, "<script"), 4; got != want {
		t.Errorf("got %d script elements, want %d", got, want)
	}
	for _, broken := range []string{"<img", "</script><script>alert", "\u2028{{"} {
		if strings.Contains(page, broken) {
			t.Errorf("the page holds %q", broken)
		}
	}
	if !strings.Contains(page, "&lt;/script&gt;") || !strings.Contains(page, `\u003c/script\u003e`) {
		t.Error("the hostile text is not in the page at all")
	}
	for name, b := range writeCSV(t, hostileResult()) {
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "=") || strings.Contains(line, ",=") || strings.Contains(line, ",\"=") {
				t.Errorf("%s holds a formula: %s", name, line)
			}
		}
	}
}

// The policy names the hash of every style and script of the page, and
// there is nothing else that runs.
func TestPolicyCoversThePage(t *testing.T) {
	page := render(t, WriteHTML, fixture())
	policy := string(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindSubmatch(page)[1])
	policy = strings.NewReplacer("&#39;", "'", "&#43;", "+").Replace(policy)
	parts := regexp.MustCompile(`(?s)<(?:style|script)>(.*?)</(?:style|script)>`).FindAllSubmatch(page, -1)
	if got, want := len(parts), 5; got != want {
		t.Errorf("got %d styles and scripts, want %d", got, want)
	}
	for i, part := range parts {
		if source := hashSource(string(part[1])); !strings.Contains(policy, source) {
			t.Errorf("part %d, %s, is not in the policy %s", i, source, policy)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is too wide: %s", policy)
	}
	if bytes.Contains(withoutLibraries(page), []byte(" style=")) {
		t.Error("the policy forbids the style attribute that the page uses")
	}
}

// Every part that the head of the page leads to is there, and every part with
// a headline is led to.
func TestContentsLeadToEveryPart(t *testing.T) {
	page := withoutLibraries(render(t, WriteHTML, fixture()))
	contents := regexp.MustCompile(`(?s)<nav class="contents".*?</nav>`).Find(page)
	var links, parts []string
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllSubmatch(contents, -1) {
		links = append(links, string(m[1]))
	}
	for _, m := range regexp.MustCompile(`<(?:section|footer) id="([^"]*)"`).FindAllSubmatch(page, -1) {
		if string(m[1]) != "nat-gateways" {
			parts = append(parts, string(m[1]))
		}
	}
	if !slices.Equal(links, parts) {
		t.Errorf("the head leads to %v, and the page has %v", links, parts)
	}
}

func TestPageIsSmall(t *testing.T) {
	if size := len(render(t, WriteHTML, fixture())); size > 1<<20 {
		t.Errorf("got %d bytes, want at most 1 MiB", size)
	}
}

func TestRowsAreBounded(t *testing.T) {
	sessions := make([]analyze.Session, maxRows+7)
	for i := range sessions {
		sessions[i] = fixtureSession(i, "10:00:00", "10:01:00", 40000, 50000, 1, analyze.OutcomeOK)
	}
	page := render(t, WriteHTML, &analyze.Result{Sessions: analyze.RowsOf(sessions...)})
	if want := "the first 20,000 of 20,007 rows. All of them are in sessions.csv"; !bytes.Contains(page, []byte(want)) {
		t.Errorf("the page does not say %q", want)
	}
	var data struct {
		Tables map[string]struct {
			Total int
			Rows  [][]any
		}
	}
	text := regexp.MustCompile(`(?s)id="report-data">(.*?)</script>`).FindSubmatch(page)[1]
	if err := json.Unmarshal(text, &data); err != nil {
		t.Fatal(err)
	}
	if got := data.Tables["sessions"]; len(got.Rows) != maxRows || got.Total != maxRows+7 {
		t.Errorf("got %d rows of %d, want %d of %d", len(got.Rows), got.Total, maxRows, maxRows+7)
	}
}

func TestVerdict(t *testing.T) {
	one := analyze.RowsOf(analyze.Session{})
	for _, c := range []struct {
		result analyze.Result
		want   verdict
	}{
		{analyze.Result{}, verdict{analyze.Warn, "The log holds no traffic"}},
		{analyze.Result{Coverage: analyze.Coverage{Records: 5}}, verdict{analyze.Warn, "No FTP session in this log"}},
		{analyze.Result{Coverage: analyze.Coverage{Records: 5}, Sessions: one}, verdict{analyze.Info, "Nothing was stopped"}},
		{analyze.Result{Findings: []analyze.Finding{{Severity: analyze.Warn, Title: "a"}, {Severity: analyze.Broken, Title: "b"}}}, verdict{analyze.Broken, "b"}},
	} {
		if got := newVerdict(&c.result); got != c.want {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[analyze.Time]string{0: "0 s", 59: "59 s", 60: "1 min", 61: "1 min 1 s", 5400: "1 h 30 min", 86400: "1 d", 90061: "1 d 1 h"} {
		if got := duration(seconds); got != want {
			t.Errorf("%d: got %s, want %s", seconds, got, want)
		}
	}
}

// Every session is in exactly one bar, and there are not too many bars.
func TestTimeline(t *testing.T) {
	for _, span := range []int{0, 59, 3600, 86400, 40 * 86400, 900 * 86400} {
		t.Run(fmt.Sprint(span), func(t *testing.T) {
			sessions := []analyze.Session{{Start: at("23:59:59"), Outcome: analyze.OutcomeOK}}
			for i := range 50 {
				sessions = append(sessions, analyze.Session{Start: sessions[0].Start + analyze.Time(span*i/49), Outcome: outcomes[i%len(outcomes)]})
			}
			line := newTimeline(analyze.RowsOf(sessions...))
			if n := len(line.Labels); n < 1 || n > maxBars+1 {
				t.Errorf("got %d bars, want 1 to %d", n, maxBars+1)
			}
			total := 0
			for _, s := range line.Series {
				for _, n := range s.Counts {
					total += n
				}
			}
			if total != len(sessions) {
				t.Errorf("got %d sessions, want %d", total, len(sessions))
			}
		})
	}
}

func TestCountRejects(t *testing.T) {
	got := countRejects(analyze.RowsOf(fixtureRejects()...))
	want := []rejectCount{
		{"nacl", publicACL + " rule *", 5, 30},
		{"late", "", 1, 2},
		{"nacl", publicACL + " rule 90", 1, 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
