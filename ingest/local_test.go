package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tree writes files, by path and content, and returns their folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readAll collects what a source yields, with dir cut from errors.
func readAll(t *testing.T, dir string, places []string, opts Options, f Format) []string {
	t.Helper()
	l, err := Open(places, opts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rec, err := range l.Records(t.Context()) {
		if err != nil {
			got = append(got, "! "+strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))
			continue
		}
		got = append(got, string(f.AppendRecord(nil, rec)))
	}
	return got
}

func key(folder, flowLog, at, hash string) string {
	return fmt.Sprintf("%s/123456789012_vpcflowlogs_us-east-1_%s_%s_%s.log.gz", folder, flowLog, at, hash)
}

func log(ends ...int) string {
	text := "srcport end\n"
	for i, end := range ends {
		text += fmt.Sprintf("%d %d\n", i, end)
	}
	return text
}

var ends = mustFormat("end")

func TestOpenErrors(t *testing.T) {
	dir := tree(t, map[string]string{"full/a": log(1), "empty/sub/x": ""})
	os.Remove(filepath.Join(dir, "empty/sub/x"))
	for _, test := range []struct {
		place, want string
	}{
		{filepath.Join(dir, "none"), "none: no such file or directory; check the path"},
		{filepath.Join(dir, "full/a/b"), "full/a/b: not a directory"},
		{filepath.Join(dir, "empty"), "empty: the directory holds no file; give one that holds flow logs"},
		{"-", "-: there is no standard input to read"},
	} {
		_, err := Open([]string{filepath.Join(dir, "full"), test.place}, Options{})
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("Open(%q): got %v, want %s", test.place, err, test.want)
		}
	}
	if _, err := Open(nil, Options{}); err == nil {
		t.Error("Open of no places: got no error")
	}
}

func TestLocalPlaces(t *testing.T) {
	dir := tree(t, map[string]string{"logs/deep/a.log": log(10), "b.log": log(20), "twice.log": log(30), "target": log(40)})
	if err := os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "logs/link")); err != nil {
		t.Skip(err)
	}
	places := []string{"-", filepath.Join(dir, "twice.log"), filepath.Join(dir, "logs"), filepath.Join(dir, "b.log"), filepath.Join(dir, "./twice.log")}
	got := readAll(t, dir, places, Options{Stdin: strings.NewReader(log(15))}, ends)
	diff(t, got, []string{"15", "10", "20", "30", "40"}) // what does not tell its time comes first
}

func TestLocalLinks(t *testing.T) {
	dir := tree(t, map[string]string{"real/a.log": log(10)})
	for link, target := range map[string]string{"link": "real", "real/broken": "nowhere", "real/up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	got := readAll(t, dir, []string{filepath.Join(dir, "link")}, Options{}, ends)
	diff(t, got, []string{"! link/broken: no such file or directory", "10"})
}

// The layouts of prefixes say nothing: the file name and the header line do.
func TestLocalLayouts(t *testing.T) {
	at := func(s string) int {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return int(when.Unix())
	}
	dir := tree(t, map[string]string{
		key("p/AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/22", "fl-a", "20261122T1000Z", "1"):                                                              log(at("2026-11-22T10:00:30Z")),
		key("p/AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/22/10", "fl-b", "20261122T1005Z", "2"):                                                           log(at("2026-11-22T10:05:30Z")),
		key("p/AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=11/day=22/hour=09", "fl-c", "20261122T0955Z", "3"): log(at("2026-11-22T09:55:30Z")),
	})
	l, err := Open([]string{dir}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rec, err := range l.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.FlowLogID)
	}
	diff(t, got, []string{"fl-c", "fl-a", "fl-b"})
	if s := l.Stats(); s.Objects != 3 || s.Bytes != 3*int64(len("srcport end\n0 1795370837\n")) {
		t.Errorf("got %+v", s)
	}
}

// Objects follow each other by their first record, whatever their names.
func TestLocalOrder(t *testing.T) {
	dir := tree(t, map[string]string{
		"d": log(1000, 1004, 1008, 2000),
		"c": log(1001, 1004, 1005),
		"b": log(1500, 1600),
		"a": log(9000),
	})
	got := readAll(t, dir, []string{dir}, Options{}, ends)
	diff(t, got, strings.Fields("1000 1004 1008 2000 1001 1004 1005 1500 1600 9000"))
}

// A file that is no flow log is named and skipped, one that is cut short
// keeps what came before the break, and neither disturbs the others.
func TestLocalBadObjects(t *testing.T) {
	dir := tree(t, map[string]string{
		"1.gz":      string(gz(log(10, 20))),
		"2-cut.gz":  string(gz(log(11, 21))[:45]),
		"3.parquet": "PAR1....PAR1",
		"notes.txt": "remember the milk\n",
		"z":         log(30),
	})
	got := readAll(t, dir, []string{dir}, Options{}, ends)
	all := strings.Join(got, "\n")
	for _, want := range []string{"! 2-cut.gz: ", "! 3.parquet: ", "! notes.txt: ", "10", "20", "30"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing from:\n%s", want, all)
		}
	}
}

// The time in a name is not the records' time: the window applies to
// records, and to names with a margin.
func TestLocalWindow(t *testing.T) {
	midnight := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	files := make(map[string]string)
	for m := 0; m < 300; m += 5 {
		when := midnight.Add(time.Duration(m) * time.Minute)
		end := int(when.Unix())
		text := "start end\n"
		for _, late := range []int{-900, 0, 299, 900} {
			text += fmt.Sprintf("%d %d\n", end+late-30, end+late)
		}
		files[key("x", "fl-1", when.Format("20060102T1504Z"), "h")] = text
	}
	dir := tree(t, files)
	opts := Options{From: midnight.Add(2 * time.Hour), To: midnight.Add(3 * time.Hour)}
	var want []string
	for _, line := range readAll(t, dir, []string{dir}, Options{}, mustFormat("start end")) {
		words := strings.Fields(line)
		start, _ := strconv.ParseInt(words[0], 10, 64)
		end, _ := strconv.ParseInt(words[1], 10, 64)
		if end >= opts.From.Unix() && start < opts.To.Unix() {
			want = append(want, line)
		}
	}
	got := readAll(t, dir, []string{dir}, opts, mustFormat("start end"))
	slices.Sort(got)
	slices.Sort(want)
	diff(t, got, want)
	l, err := Find([]string{dir}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(l.objects); n < 12 || n > 30 {
		t.Errorf("got %d objects to open, want an hour of them and the margins", n)
	}
}

// busyTree has more objects at one time than are open at once, records out
// of order inside their object, bad lines, and bad objects.
func busyTree(t testing.TB) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	files := make(map[string]string)
	for o := range 200 {
		base := 100_000 + o/50*300
		var text strings.Builder
		text.WriteString("srcport end\n")
		for range rnd.IntN(3 * batchSize) {
			if rnd.IntN(50) == 0 {
				text.WriteString("bad line\n")
				continue
			}
			fmt.Fprintf(&text, "%d %d\n", rnd.IntN(65536), base+rnd.IntN(300))
		}
		content := text.String()
		if rnd.IntN(2) == 0 {
			content = string(gz(content))
		}
		if rnd.IntN(10) == 0 {
			content = content[:len(content)/2]
		}
		files[fmt.Sprintf("%03d", rnd.IntN(1000)*200+o)] = content
	}
	return tree(t, files)
}

func TestLocalSameForAnyJobs(t *testing.T) {
	dir := busyTree(t)
	want := readAll(t, dir, []string{dir}, Options{Jobs: 1}, mustFormat("srcport end"))
	if len(want) < 1000 {
		t.Fatalf("only %d steps", len(want))
	}
	for jobs := 1; jobs <= 8; jobs++ {
		ahead := 20 - 2*jobs
		got := readAll(t, dir, []string{dir}, Options{Jobs: jobs, ReadAhead: ahead}, mustFormat("srcport end"))
		if !slices.Equal(got, want) {
			t.Fatalf("%d jobs, reading %d objects ahead, give another sequence", jobs, ahead)
		}
	}
}

func settled(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestLocalCancelAndBreak(t *testing.T) {
	dir := busyTree(t)
	l, err := Open([]string{dir}, Options{Jobs: 4})
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for _, stopAt := range []int{0, 1, 5, 1000, 10000} {
		n := 0
		for range l.Records(t.Context()) {
			if n++; n > stopAt {
				break
			}
		}
		settled(t, before)

		ctx, cancel := context.WithCancel(t.Context())
		if n = 0; stopAt == 0 {
			cancel()
		}
		var last error
		for _, err := range l.Records(ctx) {
			if n++; n == stopAt {
				cancel()
			}
			last = err
		}
		cancel()
		if !errors.Is(last, context.Canceled) {
			t.Errorf("cancelled at %d: the last error is %v", stopAt, last)
		}
		settled(t, before)
	}
}

type blocked chan struct{}

func (b blocked) Read([]byte) (int, error) { <-b; return 0, errors.New("late") }

func TestLocalCancelBlockedStdin(t *testing.T) {
	before := runtime.NumGoroutine()
	stdin := make(blocked)
	l, err := Open([]string{"-"}, Options{Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for _, err := range l.Records(ctx) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	close(stdin)
	settled(t, before)
}

func TestParseName(t *testing.T) {
	name, ok := ParseName("s3://b/AWSLogs/1/123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.gz")
	if !ok || name.FlowLogID != "fl-0a1" || name.Time.Format(time.RFC3339) != "2026-11-22T16:20:00Z" {
		t.Errorf("got %+v, %v", name, ok)
	}
	for _, other := range []string{"", "-", "x.log.gz", "1_vpcflowlogs_r_fl-1_2026_h.log", "1_elb_r_fl-1_20261122T1620Z_h.log"} {
		if name, ok := ParseName(other); ok {
			t.Errorf("ParseName(%q): got %+v", other, name)
		}
	}
}

func TestOrdered(t *testing.T) {
	named := "123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.gz"
	for _, x := range []struct {
		name  string
		files []string
		want  bool
	}{
		{"AWS's names", []string{named, "hour=16/" + named}, true},
		{"one other name", []string{named, "export.gz"}, false},
	} {
		dir := t.TempDir()
		for _, f := range x.files {
			name := filepath.Join(dir, filepath.FromSlash(f))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open([]string{dir}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Ordered(); got != x.want {
			t.Errorf("%s: got %v, want %v", x.name, got, x.want)
		}
	}
}
