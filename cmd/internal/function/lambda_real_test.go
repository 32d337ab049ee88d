//go:build real

package function_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/cmd/internal/cli"
	"ephemera/cmd/internal/runtimeapi"
	"ephemera/cmd/internal/runtimeapi/motoqueue"
	"ephemera/ingest/digest"
	"ephemera/ingest/sourcetest"
)

// These tests run the program that is deployed, in the Lambda of package
// runtimeapi, on a real S3 server, which tells of new objects, and with
// moto's queues.

const article = "../../../testdata/article"

const topicARN = "arn:aws:sns:us-east-1:123456789012:new-objects"

// bootstrap is the program, built once.
var bootstrap = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ephemera-lambda")
	if err != nil {
		return "", err
	}
	return runtimeapi.Build(context.Background(), dir, "ephemera/cmd/ephemera-lambda")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if place, err := bootstrap(); err == nil {
		os.RemoveAll(filepath.Dir(place))
	}
	os.Exit(code)
}

// A lab is a bucket of logs, one for what the function writes, and what S3
// tells of both.
type lab struct {
	t       testing.TB
	buckets string // folder
	url     string // of the S3 server
	client  *s3.Client

	mu      sync.Mutex
	notices []runtimeapi.Notice
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, buckets: t.TempDir()}
	for _, name := range []string{"logs", "out"} {
		if err := os.Mkdir(filepath.Join(l.buckets, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.url = runtimeapi.S3(t, l.buckets, func(n runtimeapi.Notice) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.notices = append(l.notices, n)
	})
	l.client = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &l.url, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(sourcetest.AccessKey, sourcetest.SecretKey, ""),
	})
	return l
}

// put writes an object, and returns its notice when S3 has told it.
func (l *lab) put(bucket, key string, content []byte) runtimeapi.Notice {
	l.t.Helper()
	made, err := l.client.PutObject(l.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)})
	if err != nil {
		l.t.Fatal(err)
	}
	etag := strings.Trim(aws.ToString(made.ETag), `"`)
	return l.notice(func(n runtimeapi.Notice) bool { return n.Bucket == bucket && n.Key == key && n.ETag == etag })
}

// notice waits for one that is right.
func (l *lab) notice(right func(runtimeapi.Notice) bool) runtimeapi.Notice {
	l.t.Helper()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(2 * time.Millisecond) {
		l.mu.Lock()
		all := l.notices // it only grows
		l.mu.Unlock()
		if i := slices.IndexFunc(all, right); i >= 0 {
			return all[i]
		}
	}
	l.t.Fatal("S3 does not tell of an object within 20 s")
	return runtimeapi.Notice{}
}

// putFolder writes the files below dir as objects.
func (l *lab) putFolder(dir, bucket, prefix string) (notices []runtimeapi.Notice) {
	l.t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		notices = append(notices, l.put(bucket, prefix+filepath.ToSlash(below), content))
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return notices
}

// function starts the function, with an S3 server of its own at url.
func (l *lab) function(url string, c runtimeapi.Config, env ...string) *runtimeapi.Lambda {
	l.t.Helper()
	program, err := bootstrap()
	if err != nil {
		l.t.Fatal(err)
	}
	c.Bootstrap = program
	c.Env = append([]string{
		"AWS_ACCESS_KEY_ID=" + sourcetest.AccessKey, "AWS_SECRET_ACCESS_KEY=" + sourcetest.SecretKey, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ENDPOINT_URL_S3=" + url, "EPHEMERA_DIGESTS=s3://out/digests/", "EPHEMERA_REPORTS=s3://out/reports/",
		"EPHEMERA_NETWORK=s3://out/network/", "EPHEMERA_DAYS=0",
	}, env...)
	f, err := runtimeapi.Start(l.t.Context(), c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			l.t.Error(err)
		}
	})
	return f
}

// digests are the names of those that there are, in order.
func (l *lab) digests() (names []string) {
	l.t.Helper()
	root := filepath.Join(l.buckets, "out", "digests")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(root, name)
		names = append(names, filepath.ToSlash(below))
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		l.t.Fatal(err)
	}
	return names
}

func digestOf(n runtimeapi.Notice) string { return digest.Name(n.Bucket+"/"+n.Key, n.ETag) }

// batch is the report of the command line over the bucket of logs.
func (l *lab) batch(config string) map[string]string {
	l.t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": sourcetest.AccessKey, "AWS_SECRET_ACCESS_KEY": sourcetest.SecretKey, "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		l.t.Setenv(name, value)
	}
	out := l.t.TempDir()
	var errs bytes.Buffer
	code := cli.Main(l.t.Context(), []string{"analyze", "--network", config, "--endpoint-url", l.url, "--out", out, "s3://logs/"},
		cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: &errs})
	if code != cli.ExitDone {
		l.t.Fatalf("exit code %d: %s", code, errs.String())
	}
	return l.files(out)
}

// files are those in a folder, without what only the function's reports have.
func (l *lab) files(dir string) map[string]string {
	l.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			l.t.Fatal(err)
		}
		if e.Name() != "manifest.json" {
			files[e.Name()] = string(content)
		}
	}
	return files
}

// sameReports compares the report in a folder of the function's with the one
// that is wanted.
func (l *lab) sameReports(folder string, want map[string]string) {
	l.t.Helper()
	got := l.files(filepath.Join(l.buckets, "out", "reports", filepath.FromSlash(folder)))
	for name := range want {
		switch text, there := got[name]; {
		case !there:
			l.t.Errorf("%s has no %s", folder, name)
		case text != want[name]:
			l.t.Errorf("%s/%s differs: %d bytes, want %d\n%s", folder, name, len(text), len(want[name]), difference(text, want[name]))
		}
	}
	for name := range got {
		if _, known := want[name]; !known {
			l.t.Errorf("%s has %s besides", folder, name)
		}
	}
	if len(want) < 3 || strings.Count(want["rejects.csv"], "\n") < 10 {
		l.t.Errorf("there is nothing in the report: %d files", len(want))
	}
}

// difference shows where two texts part.
func difference(got, want string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	around := func(s string) string { return s[max(0, min(at-80, len(s))):min(at+120, len(s))] }
	return "got  …" + around(got) + "…\nwant …" + around(want) + "…"
}

// ok invokes the function, which must not fail.
func ok(t *testing.T, f *runtimeapi.Lambda, payload []byte) runtimeapi.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := f.Invoke(ctx, payload)
	if err != nil {
		t.Fatal(err)
	}
	if r.FunctionError != "" {
		t.Fatalf("%s: %s: %s", payload[:min(len(payload), 500)], r.FunctionError, r.ErrorMessage)
	}
	return r
}

// drain lets the function handle what is in the queue.
func drain(t *testing.T, f *runtimeapi.Lambda, q *motoqueue.Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := &runtimeapi.Poller{Lambda: f, Queue: q, ARN: q.ARN, ReportBatchItemFailures: true}
	if err := p.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// articleLines are the header and the records of the article's one object.
func articleLines(t *testing.T) (header string, lines []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(article, "logs/AWSLogs/*/vpcflowlogs/*/*/*/*/*.log.gz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(unzipped(t, content))), "\n")
	return all[0], all[1:]
}

func unzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func zipped(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, strings.Join(lines, "\n")+"\n")
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// articleKey names the n-th of many objects as AWS does.
func articleKey(n int) string {
	return fmt.Sprintf("AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/22/123456789012_vpcflowlogs_us-east-1_fl-8587e7874b6464602_20261122T1810Z_%08x.log.gz", n)
}

// Events of every shape give their digests, and these the report of the
// command line. Other events give nothing.
func TestEveryEvent(t *testing.T) {
	l := newLab(t)
	moto := sourcetest.Moto(t)
	dead := motoqueue.New(t, moto, "dead", 1, 0, nil)
	queue := motoqueue.New(t, moto, "new-objects", 1, 2, dead)
	header, lines := articleLines(t)
	var log bytes.Buffer
	f := l.function(l.url, runtimeapi.Config{Name: "digest", Memory: 512, Timeout: 30 * time.Second, Log: &log},
		"EPHEMERA_FORMAT=${"+strings.ReplaceAll(header, " ", "} ${")+"}")
	l.putFolder(filepath.Join(article, "config"), "out", "network/")

	send := func(body []byte) {
		t.Helper()
		if err := queue.Send(t.Context(), string(body)); err != nil {
			t.Fatal(err)
		}
		drain(t, f, queue)
	}
	shapes := []struct {
		name string
		tell func(runtimeapi.Notice)
	}{
		{"S3", func(n runtimeapi.Notice) { ok(t, f, runtimeapi.S3Event(n)) }},
		{"SNS", func(n runtimeapi.Notice) { ok(t, f, runtimeapi.SNSEvent(topicARN, runtimeapi.S3Event(n))) }},
		{"EventBridge", func(n runtimeapi.Notice) { ok(t, f, runtimeapi.EventBridgeEvent(n)) }},
		{"SQS", func(n runtimeapi.Notice) { send(runtimeapi.S3Event(n)) }},
		{"SQS with SNS inside", func(n runtimeapi.Notice) { send(runtimeapi.SNSBody(topicARN, runtimeapi.S3Event(n))) }},
		{"SQS with EventBridge inside", func(n runtimeapi.Notice) { send(runtimeapi.EventBridgeEvent(n)) }},
	}
	var want []string
	for i, shape := range shapes {
		n := l.put("logs", articleKey(i), zipped(t, append([]string{header}, part(lines, i, len(shapes)+2)...)...))
		shape.tell(n)
		want = append(want, digestOf(n))
		if got := l.digests(); !slices.Equal(got, want) {
			t.Fatalf("%s: there are the digests %q, want %q", shape.name, got, want)
		}
	}

	// A bad record is counted, and nothing else of its object.
	bad := l.put("logs", articleKey(len(shapes)), zipped(t, append([]string{header, "no record"}, part(lines, len(shapes), len(shapes)+2)...)...))
	ok(t, f, runtimeapi.S3Event(bad))
	want = append(want, digestOf(bad))
	if got := l.digests(); !slices.Equal(got, want) {
		t.Fatalf("there are the digests %q, want %q", got, want)
	}

	// What is nobody's flow log, is gone, or is the function's own, is passed over.
	ignored := map[string][]byte{
		"test event":                 runtimeapi.S3TestEvent("logs", time.Now()),
		"foreign object":             runtimeapi.S3Event(l.put("logs", "photo.jpg", []byte("x"))),
		"own digest":                 runtimeapi.S3Event(l.notice(func(n runtimeapi.Notice) bool { return n.Key == "digests/"+want[0] })),
		"own digest, by EventBridge": runtimeapi.EventBridgeEvent(l.notice(func(n runtimeapi.Notice) bool { return n.Key == "digests/"+want[0] })),
		"no such object":             runtimeapi.S3Event(runtimeapi.Notice{Event: "ObjectCreated:Put", Time: time.Now(), Bucket: "logs", Key: articleKey(99), ETag: "00", Sequencer: "00"}),
		"removed":                    runtimeapi.S3Event(runtimeapi.Notice{Event: "ObjectRemoved:Delete", Time: time.Now(), Bucket: "logs", Key: articleKey(0), Sequencer: "FF"}),
	}
	for name, payload := range ignored {
		before := log.Len()
		ok(t, f, payload)
		if said := log.String()[before:]; !strings.Contains(said, `"msg":"ignored"`) || !strings.Contains(said, `"why":"`) {
			t.Errorf("%s: the log does not say why it is ignored: %s", name, said)
		}
	}
	if got := l.digests(); !slices.Equal(got, want) {
		t.Fatalf("there are the digests %q, want %q", got, want)
	}
	if _, err := l.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("logs"), Key: aws.String("photo.jpg")}); err != nil {
		t.Fatal(err)
	}

	// What cannot be read goes to the dead letters, and what comes with it does not.
	good := runtimeapi.S3Event(l.notice(func(n runtimeapi.Notice) bool { return n.Key == articleKey(0) }))
	if err := queue.Send(t.Context(), "no event"); err != nil {
		t.Fatal(err)
	}
	send(good)
	if n, err := dead.Left(t.Context()); n != 1 || err != nil {
		t.Errorf("%d dead letters, %v; want 1", n, err)
	}

	// A subscription sends the rest.
	rest := part(lines, len(shapes)+1, len(shapes)+2)
	var events []runtimeapi.LogEvent
	for i, line := range rest {
		events = append(events, runtimeapi.LogEvent{ID: fmt.Sprintf("%056d", i), Timestamp: time.Now().UnixMilli(), Message: line})
	}
	subscribed, err := runtimeapi.LogsEvent("vpc/flow-logs", "eni-0a-all", events...)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ok(t, f, subscribed)
		if got := l.digests(); len(got) != len(want)+1 {
			t.Fatalf("subscription: there are the digests %q, want one more than %q", got, want)
		}
	}
	l.put("logs", articleKey(50), zipped(t, append([]string{header}, rest...)...))

	// The schedule, in both its shapes.
	at := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	report := l.batch(filepath.Join(article, "config"))
	for i, payload := range [][]byte{
		runtimeapi.ScheduledEvent("us-east-1", at),
		[]byte(`{"ephemera":"report","time":"2026-11-22T19:15:00Z"}`),
	} {
		var said struct {
			Report  string
			Records int
		}
		if r := ok(t, f, payload); json.Unmarshal(r.Payload, &said) != nil || said.Records != len(lines) {
			t.Errorf("got %s, want %d records", r.Payload, len(lines))
		}
		folder := at.Add(time.Duration(i) * 15 * time.Minute).Format("2006/01/02/20060102T150405Z")
		if said.Report != "s3://out/"+path.Join("reports", folder, "report.html") {
			t.Errorf("the report is in %s, want %s", said.Report, folder)
		}
		l.sameReports(folder, report)
		l.sameReports("latest", report)
	}
	t.Logf("%+v", f.Usage())
}

// part is the i-th of n parts.
func part(lines []string, i, n int) []string { return lines[i*len(lines)/n : (i+1)*len(lines)/n] }
