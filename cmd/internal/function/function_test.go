package function

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"ephemera/analyze"
	"ephemera/cmd/internal/digests"
	"ephemera/cmd/internal/event"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/bucket"
	"ephemera/ingest/flow"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// local is a function whose stores are directories, at noon.
func local(t *testing.T, settings ...string) (f *Function, said *bytes.Buffer) {
	t.Helper()
	set, err := ParseSettings(environment(append(settings, "AWS_LAMBDA_FUNCTION_NAME=ephemera-digest")...))
	if err != nil {
		t.Fatal(err)
	}
	said = new(bytes.Buffer)
	f = &Function{
		set: set, log: slog.New(slog.NewJSONHandler(said, nil)), metrics: said, now: func() time.Time { return noon },
		digests: store.NewDirectory(t.TempDir()), reports: store.NewDirectory(t.TempDir()),
	}
	f.maker = digests.Maker{Store: f.digests, Options: ingest.Options{Want: analyze.WantFields, Format: set.Format}, Version: f.version}
	return f, said
}

func TestForeign(t *testing.T) {
	const log = "1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz"
	for _, c := range []struct {
		digests, reports, sources string
		object                    string
		want                      string // what the reason says; "" digests it
	}{
		{"s3://out/digests/", "", "", "s3://logs/AWSLogs/" + log, ""},
		{"s3://out/digests/", "", "", "s3://logs/AWSLogs/notes.txt", "name is not that of a flow log; set EPHEMERA_SOURCES"},
		{"s3://out/digests/", "", "", "s3://logs/AWSLogs/", "folder"},
		{"s3://out/digests/", "", "", "s3://logs/" + log + ".9f.digest.parquet", "it is a digest"},
		{"s3://out/digests/", "", "", "s3://out/digests/logs/" + log, "EPHEMERA_DIGESTS"},
		{"s3://out/digests", "", "", "s3://out/digests/logs/" + log, "EPHEMERA_DIGESTS"},
		{"s3://out/digests", "", "", "s3://out/digests-not/" + log, ""},
		{"s3://out/digests", "", "", "s3://out/" + log, ""},
		{"s3://out/digests", "", "", "s3://out2/digests/" + log, ""},
		{"s3://out", "", "", "s3://out/" + log, "EPHEMERA_DIGESTS"},
		{"s3://out/", "", "", "s3://out/a/b/" + log, "EPHEMERA_DIGESTS"},
		{"s3://out/", "", "", "s3://out2/a/b/" + log, ""},
		{"s3://out/d/", "s3://out/r/", "", "s3://out/r/latest/" + log, "EPHEMERA_REPORTS"},
		{"s3://out/d/", "s3://rep", "", "s3://rep/" + log, "EPHEMERA_REPORTS"},
		{"s3://out/d/", "", "s3://logs/a/", "s3://logs/a/notes.txt", ""},
		{"s3://out/d/", "", "s3://logs/a/", "s3://logs/a/", "folder"},
		{"s3://out/d/", "", "s3://logs/a/", "s3://logs/a-other/" + log, "outside EPHEMERA_SOURCES"},
		{"s3://out/d/", "", "s3://logs/a", "s3://logs/a-other/" + log, ""},
		{"s3://out/d/", "", "s3://logs", "s3://logs-other/" + log, "outside EPHEMERA_SOURCES"},
		{"s3://out/d/", "", "s3://logs", "s3://logs/x", ""},
		{"s3://out/d/", "", "s3://one/,s3://logs/", "s3://logs/x", ""},
		{"s3://logs/d/", "s3://logs/r/", "s3://logs/", "s3://logs/d/x", "EPHEMERA_DIGESTS"},
		{"s3://logs/d/", "s3://logs/r/", "s3://logs/", "s3://logs/r/latest/report.html", "EPHEMERA_REPORTS"},
		{"s3://logs/d/", "s3://logs/r/", "s3://logs/", "s3://logs/x.9f.digest.parquet", "it is a digest"},
		{"s3://logs/d/", "s3://logs/r/", "s3://logs/", "s3://logs/x", ""},
	} {
		f, _ := local(t, "EPHEMERA_DIGESTS="+c.digests, "EPHEMERA_REPORTS="+c.reports, "EPHEMERA_SOURCES="+c.sources)
		var err, err2 error
		f.digests, err = bucketAt(nil, c.digests)
		f.reports, err2 = bucketAt(nil, c.reports)
		name, key, err3 := store.Split(c.object)
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		got := (&digesting{Function: f}).foreign(name, key)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("digests %s, reports %s, sources %q: %s is foreign because %q, want %q", c.digests, c.reports, c.sources, c.object, got, c.want)
		}
	}
}

// emf is the form of a line that CloudWatch makes metrics of.
//
// Source: CloudWatch User Guide, "Embedded metric format specification".
type emf struct {
	AWS struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	} `json:"_aws"`
}

// checkEMF checks a line against the specification.
func checkEMF(t *testing.T, line []byte) {
	t.Helper()
	var e emf
	var members map[string]any
	if err := errors.Join(json.Unmarshal(line, &e), json.Unmarshal(line, &members)); err != nil {
		t.Fatal(err)
	}
	if e.AWS.Timestamp < 1e12 || len(e.AWS.CloudWatchMetrics) == 0 {
		t.Errorf("%s: no time in milliseconds, or no directive", line)
	}
	units := []string{"Seconds", "Bytes", "Count"}
	for _, d := range e.AWS.CloudWatchMetrics {
		if d.Namespace == "" || len(d.Dimensions) == 0 || len(d.Metrics) == 0 || len(d.Metrics) > 100 {
			t.Errorf("%s: namespace %q, %d sets of dimensions, %d metrics", line, d.Namespace, len(d.Dimensions), len(d.Metrics))
		}
		for _, dimension := range slices.Concat(d.Dimensions...) {
			if value, ok := members[dimension].(string); !ok || value == "" {
				t.Errorf("%s: dimension %s has no text", line, dimension)
			}
		}
		for _, m := range d.Metrics {
			if _, ok := members[m.Name].(float64); !ok || !slices.Contains(units, m.Unit) {
				t.Errorf("%s: metric %s in %s has no number", line, m.Name, m.Unit)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	f, said := local(t)
	d := &digesting{Function: f, objects: 2, records: 30, bad: 1, read: 4096, written: 512, lag: 90 * time.Second}
	if err := d.count(); err != nil {
		t.Fatal(err)
	}
	r := &analyze.Result{}
	r.Coverage.Records, r.Coverage.End = 30, analyze.Time(noon.Unix()-60)
	if err := f.countReport(r, noon); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(said.Bytes()) {
		checkEMF(t, line)
	}
	golden := filepath.Join("testdata", "metrics.json")
	if *update {
		if err := os.WriteFile(golden, said.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || said.String() != string(want) {
		t.Errorf("%v; got\n%s\nwant\n%s", err, said, want)
	}
}

const logLine = "2 123456789012 eni-0a 10.0.1.5 203.0.113.10 40000 21 6 9 712 1795370837 1795370861 ACCEPT OK"

func subscription(texts ...string) *event.Logs {
	l := &event.Logs{Group: "/aws/vpc/flow", Stream: "eni-0a-all"}
	for i, text := range texts {
		l.Events = append(l.Events, event.LogEvent{ID: fmt.Sprintf("3884%03d", i), Time: noon, Text: text})
	}
	return l
}

// kept are the objects of a store, by name.
func kept(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	names, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		b, _, err := s.Get(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		all[n] = string(b)
	}
	return all
}

// A batch of a subscription has one digest, however often it is sent.
func TestLogs(t *testing.T) {
	f, said := local(t)
	send := func(l *event.Logs) map[string]string {
		t.Helper()
		if _, err := f.digest(t.Context(), event.Event{Kind: event.KindLogs, Logs: l}, nil); err != nil {
			t.Fatal(err)
		}
		return kept(t, f.digests)
	}
	one := send(subscription(logLine, logLine+" 9", logLine))
	if len(one) != 1 {
		t.Fatalf("there are %d digests", len(one))
	}
	for name := range one {
		if !strings.HasPrefix(name, "cloudwatch/.aws.vpc.flow/eni-0a-all/") {
			t.Errorf("it is %s", name)
		}
	}
	if !strings.Contains(said.String(), `"BadRecords":1`) || !strings.Contains(said.String(), `"Records":2`) {
		t.Errorf("it said %s", said)
	}
	again := send(subscription(logLine, logLine+" 9", logLine))
	for name := range one {
		if again[name] != one[name] || len(again) != 1 {
			t.Error("the same batch gave another digest")
		}
	}
	if both := send(subscription(logLine)); len(both) != 2 {
		t.Errorf("another batch left %d digests", len(both))
	}
	odd := subscription(logLine)
	odd.Group, odd.Stream = "//", "."
	for name := range send(odd) {
		if !strings.HasPrefix(name, "cloudwatch/") || strings.Contains(name, "/../") || strings.Contains(name, "/./") {
			t.Errorf("a digest is %s", name)
		}
	}
	if n := len(kept(t, f.digests)); n != 3 {
		t.Errorf("there are %d digests, want 3", n)
	}
}

func TestClean(t *testing.T) {
	for name, want := range map[string]string{
		"/aws/vpc/flow": ".aws.vpc.flow", "eni-0a_B-all": "eni-0a_B-all", "": "_", ".": "_.", "..": "_..", "//": "_..", "ä#x": "..x",
	} {
		if got := clean(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// queue is one of SQS that takes messages, or refuses them.
type queue struct {
	refuse bool
	sent   []struct {
		MessageBody       string
		MessageAttributes map[string]struct{ StringValue string }
	}
}

func (q *queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if q.refuse {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	b, err := io.ReadAll(r.Body)
	if err == nil {
		q.sent = append(q.sent, make([]struct {
			MessageBody       string
			MessageAttributes map[string]struct{ StringValue string }
		}, 1)...)
		err = json.Unmarshal(b, &q.sent[len(q.sent)-1])
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	sum := md5.Sum([]byte(q.sent[len(q.sent)-1].MessageBody))
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	fmt.Fprintf(w, `{"MessageId":"m","MD5OfMessageBody":"%s"}`, hex.EncodeToString(sum[:]))
}

// A message that will never succeed goes to the dead letters with its reason,
// and to them alone; when that fails, and any other one, it comes again.
func TestFailures(t *testing.T) {
	q := &queue{}
	server := httptest.NewServer(q)
	defer server.Close()
	f, _ := local(t, "EPHEMERA_DEAD_LETTERS="+server.URL+"/1/dead")
	f.sqs = sqs.New(sqs.Options{
		Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""), Retryer: aws.NopRetryer{},
	})
	payload, err := json.Marshal(events.SQSEvent{Records: []events.SQSMessage{
		{MessageId: "bad", Body: "no JSON", EventSource: "aws:sqs"}, {MessageId: "late", Body: `{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-11-22T10:00:00.000Z","Bucket":"logs","RequestId":"1","HostId":"2"}`, EventSource: "aws:sqs"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.Parse(payload)
	if err != nil || len(e.Failed) != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	e.Objects = []event.Object{{Bucket: "logs", Key: "1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz", Message: "late"}}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	answer := func(ctx context.Context) []string {
		t.Helper()
		got, err := f.digest(ctx, e, payload)
		response, ok := got.(events.SQSEventResponse)
		if err != nil || !ok {
			t.Fatalf("%#v, %v", got, err)
		}
		var again []string
		for _, i := range response.BatchItemFailures {
			again = append(again, i.ItemIdentifier)
		}
		return again
	}
	if again := answer(expired); !slices.Equal(again, []string{"bad", "late"}) {
		t.Errorf("when the time is over, %q come again", again)
	}
	objects := e.Objects
	e.Objects = nil
	if again := answer(t.Context()); len(again) != 0 {
		t.Errorf("what is with the dead letters comes again: %q", again)
	}
	if len(q.sent) != 1 || q.sent[0].MessageBody != "no JSON" || q.sent[0].MessageAttributes["MessageId"].StringValue != "bad" ||
		!strings.Contains(q.sent[0].MessageAttributes["Reason"].StringValue, "expected is") {
		t.Errorf("the dead letters are %+v", q.sent)
	}
	q.refuse = true
	if again := answer(t.Context()); !slices.Equal(again, []string{"bad"}) {
		t.Errorf("when the dead letters refuse it, %q come again", again)
	}
	f.sqs, e.Objects = nil, objects
	if again := answer(expired); !slices.Equal(again, []string{"bad", "late"}) {
		t.Errorf("without dead letters, %q come again", again)
	}
}

// What goes with a dead letter is text that SQS takes.
func TestSendable(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "a\x00b\x1bc": "a?b?c", "a\tb\nc\r": "a\tb\nc\r", "a\xffb": "a?b", "\ufffe": "?",
		strings.Repeat("ä", 600):                 strings.Repeat("ä", 512),
		"x" + strings.Repeat("ä", 600):           "x" + strings.Repeat("ä", 511),
		strings.Repeat("日", 400):                 strings.Repeat("日", 341),
		strings.Repeat("x", 1022) + "𝒳":          strings.Repeat("x", 1022),
		strings.Repeat("x", 1020) + "𝒳" + "more": strings.Repeat("x", 1020) + "𝒳",
	} {
		got := sendable(text)
		if got != want || !utf8.ValidString(got) || len(got) > maxReason {
			t.Errorf("%.40q gives %d bytes, %.40q; want %.40q", text, len(got), got, want)
		}
	}
}

// An object that is damaged will not get better; one that could not be fetched
// may.
func TestPermanent(t *testing.T) {
	for fault, want := range map[flow.Fault]bool{
		flow.Damaged: true, flow.NotFlowLog: true, flow.Gone: false, flow.Archived: false, flow.Denied: false, flow.Unreachable: false,
	} {
		if got := isPermanent(fmt.Errorf("x: %w", &flow.ObjectError{Fault: fault, Err: io.EOF})); got != want {
			t.Errorf("%v: got %t, want %t", fault, got, want)
		}
	}
	if isPermanent(io.EOF) {
		t.Error("an error of something else is permanent")
	}
}

// slowS3 answers nothing until it is told that the request is over.
func slowS3(t *testing.T) *s3.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(server.Close)
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
}

// An invocation stops before its deadline, and says what it did not do.
func TestDeadline(t *testing.T) {
	f, said := local(t)
	f.s3 = slowS3(t)
	f.objects = bucket.New(f.s3, bucket.Options{PathStyle: true})
	var records []string
	for i := range 3 {
		records = append(records, fmt.Sprintf(`{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-1","eventTime":"2026-11-22T10:00:00.000Z","eventName":"ObjectCreated:Put",
			"s3":{"bucket":{"name":"logs"},"object":{"key":"1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_%d.log.gz","size":1,"eTag":"9f","sequencer":"0A%d"}}}`, i, i))
	}
	payload := []byte(`{"Records":[` + strings.Join(records, ",") + `]}`)
	const timeout = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	began := time.Now()
	_, err := f.Handle(ctx, payload)
	if took := time.Since(began); took < timeout/2 || took > timeout-timeout/8 {
		t.Errorf("it took %v of %v", took, timeout)
	}
	for i := range 3 {
		if want := fmt.Sprintf("T1000Z_%d.log.gz", i); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(said.String(), want) {
			t.Errorf("got %v, and the log %s; want %s in both", err, said, want)
		}
	}
	if err == nil || strings.Count(err.Error(), errDeadline.Error()) != 2 || !strings.Contains(err.Error(), errUnfinished.Error()) {
		t.Errorf("got %v, want one that was broken off, and two that were not begun", err)
	}
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Minute))
	defer cancel()
	if _, err := f.Handle(expired, payload); err == nil || strings.Count(err.Error(), errDeadline.Error()) != 3 {
		t.Errorf("behind the deadline: %v", err)
	}
	if _, err := f.Handle(t.Context(), []byte("{}")); err == nil || !strings.Contains(err.Error(), "expected is") {
		t.Errorf("without a deadline, an event of no kind: %v", err)
	}
}

// Without a place for reports, the schedule is told what to set.
func TestNoReports(t *testing.T) {
	f, _ := local(t)
	f.reports = nil
	if _, err := f.Handle(t.Context(), []byte(`{"ephemera":"report","time":"2026-11-22T12:00:00Z"}`)); err == nil || !strings.Contains(err.Error(), envReports) {
		t.Errorf("got %v, want an error with %s", err, envReports)
	}
}

// The latest report is the one of the latest time, whichever is published last,
// and every report stays under its own time.
func TestPublish(t *testing.T) {
	times := []time.Time{noon, noon.Add(15 * time.Minute), noon.Add(30 * time.Minute)}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}, {0, 0, 1}, {1, 0, 1}} {
		f, _ := local(t)
		last := 0
		for n, i := range order {
			dir := t.TempDir()
			content := fmt.Sprintf("report %d, made as number %d", i, n)
			for _, name := range []string{"report.html", "report.json", "sessions.csv"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			folder := times[i].Format("2006/01/02/20060102T150405Z")
			place, err := f.publish(t.Context(), times[i], dir, &analyze.Result{})
			if err != nil || place != f.reports.Place(folder+"/report.html") {
				t.Fatalf("%s, %v", place, err)
			}
			last = max(last, i)
			all := kept(t, f.reports)
			for _, name := range []string{"report.html", "report.json", "sessions.csv"} {
				if all[folder+"/"+name] != content {
					t.Errorf("order %v: %s/%s holds %q", order, folder, name, all[folder+"/"+name])
				}
				if got := all["latest/"+name]; !strings.HasPrefix(got, fmt.Sprintf("report %d,", last)) {
					t.Errorf("order %v, after %d: latest/%s holds %q, want report %d", order, i, name, got, last)
				}
			}
			var m manifest
			if err := json.Unmarshal([]byte(all[manifestName]), &m); err != nil || !m.Time.Equal(times[last]) {
				t.Errorf("order %v, after %d: the manifest is %+v, %v", order, i, m, err)
			}
		}
	}
}
