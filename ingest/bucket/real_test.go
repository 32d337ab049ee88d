//go:build real

package bucket

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/parquet-go/parquet-go"

	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/ingest/sourcetest"
)

// client makes a client as the command line does, but with short waits.
func client(t testing.TB, url string) *s3.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &url,
		Credentials: credentials.NewStaticCredentialsProvider(sourcetest.AccessKey, sourcetest.SecretKey, ""),
		HTTPClient:  &http.Client{Transport: transport},
		Retryer: retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
			o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = 10, 50*time.Millisecond
			})
		}),
	})
}

func realStore(t testing.TB, url string) *Store {
	s := New(client(t, url), Options{PathStyle: true, Stall: 300 * time.Millisecond})
	s.backoff = time.Millisecond
	return s
}

// row is a record as Parquet holds it.
type row struct {
	Version     int32  `parquet:"version"`
	InterfaceID string `parquet:"interface_id"`
	SrcAddr     string `parquet:"srcaddr"`
	DstAddr     string `parquet:"dstaddr"`
	SrcPort     int32  `parquet:"srcport"`
	DstPort     int32  `parquet:"dstport"`
	Protocol    int32  `parquet:"protocol"`
	Packets     int64  `parquet:"packets"`
	Bytes       int64  `parquet:"bytes"`
	Start       int64  `parquet:"start"`
	End         int64  `parquet:"end"`
	Action      string `parquet:"action"`
	LogStatus   string `parquet:"log_status"`
}

func rows(rnd *rand.Rand, n int, at time.Time) []row {
	all := make([]row, n)
	for i := range all {
		end := at.Unix() + int64(rnd.IntN(300))
		all[i] = row{2, fmt.Sprintf("eni-%02x", rnd.IntN(50)), fmt.Sprintf("10.0.0.%d", rnd.IntN(256)), "203.0.113.10",
			int32(1024 + rnd.IntN(60000)), 21, 6, int64(1 + rnd.IntN(100)), int64(rnd.IntN(1e6)), end - int64(rnd.IntN(60)), end, "ACCEPT", "OK"}
	}
	return all
}

func text(all []row, bad bool) []byte {
	var b bytes.Buffer
	b.WriteString("version interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n")
	for _, r := range all {
		fmt.Fprintln(&b, r.Version, r.InterfaceID, r.SrcAddr, r.DstAddr, r.SrcPort, r.DstPort, r.Protocol, r.Packets, r.Bytes, r.Start, r.End, r.Action, r.LogStatus)
	}
	if bad {
		b.WriteString("2 eni-0a 10.0.0.1 10.0.0.2 70000 21 6 1 1 1 1 ACCEPT OK\n")
	}
	return b.Bytes()
}

func zipped(p []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(p)
	w.Close()
	return b.Bytes()
}

func asParquet(t testing.TB, all []row) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b, parquet.Compression(&parquet.Gzip))
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// realTree writes what AWS would deliver: several layouts, accounts, regions
// and flow logs side by side, text and Parquet, some bad lines, some damaged
// objects.
func realTree(t testing.TB, dir string, rnd *rand.Rand, objects, records int) {
	t.Helper()
	owners := []struct {
		layout          layout
		prefix          string
		account, region string
		flowLog         string
		parquet         bool
	}{
		{layouts[0], "", "111111111111", "us-east-1", "fl-0a", false},
		{layouts[0], "", "111111111111", "us-east-1", "fl-0b", true},
		{layouts[1], "", "222222222222", "eu-west-1", "fl-0c", false},
		{layouts[1], "", "222222222222", "us-east-1", "fl-0d", true},
		{layouts[2], "team/", "111111111111", "us-east-1", "fl-0e", true},
		{layouts[3], "team/", "222222222222", "us-east-1", "fl-0f", false},
	}
	for i := range objects {
		o := owners[i%len(owners)]
		at := day0.Add(time.Duration(i/len(owners)) * 20 * time.Minute)
		key := o.layout.key(o.prefix, o.account, o.region, o.flowLog, at, fmt.Sprintf("%08x", rnd.Uint32()))
		all := rows(rnd, 1+rnd.IntN(2*records), at)
		content := zipped(text(all, i%50 == 0))
		if o.parquet {
			key, content = strings.TrimSuffix(key, ".log.gz")+".log.parquet", asParquet(t, all)
		}
		if i%97 == 5 {
			content = content[:len(content)*2/3]
		}
		name := filepath.Join(dir, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// served copies the files of dir into the bucket logs of a server.
func served(t testing.TB, dir string) string {
	t.Helper()
	buckets := t.TempDir()
	if err := os.CopyFS(filepath.Join(buckets, "logs"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return sourcetest.S3(t, buckets)
}

// steps reads a source to its end, which must come soon.
func steps(t *testing.T, s ingest.Source) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for rec, err := range s.Records(ctx) {
		if err != nil {
			all = append(all, "! "+err.Error())
		} else {
			all = append(all, fmt.Sprintf("%+v", *rec))
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("not at the end in time; the latest step is %s", all[len(all)-1])
	}
	return all
}

// localSteps reads a file or folder below dir, and names places as they are
// in the bucket.
func localSteps(t *testing.T, dir, place string, opts ingest.Options) []string {
	t.Helper()
	local, err := ingest.Open([]string{filepath.Join(dir, place)}, opts)
	if err != nil {
		t.Fatal(err)
	}
	all := steps(t, local)
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], dir+"/", "s3://logs/")
	}
	return all
}

func bucketLogs(t testing.TB, s *Store, opts ingest.Options, places ...string) *ingest.Logs {
	t.Helper()
	o, err := s.Find(t.Context(), places, opts)
	if err != nil {
		t.Fatal(err)
	}
	return ingest.Join(opts, o)
}

// A bucket gives the same steps as the same files in a directory.
func TestRealBucketIsLikeDirectory(t *testing.T) {
	dir := t.TempDir()
	realTree(t, dir, rand.New(rand.NewPCG(1, 1)), 3000, 10)
	s := realStore(t, served(t, dir))
	windows := []ingest.Options{
		{},
		{From: day0.Add(30 * time.Hour), To: day0.Add(50*time.Hour + 10*time.Minute)},
		{Jobs: 1, ReadAhead: 1, Want: flow.Fields(flow.FieldSrcAddr, flow.FieldBytes)},
	}
	for _, opts := range windows {
		want := localSteps(t, dir, "", opts)
		logs := bucketLogs(t, s, opts, "s3://logs/")
		diff(t, steps(t, logs), want)
		if !logs.Ordered() {
			t.Error("the bucket is not ordered")
		}
		t.Logf("%d steps, %+v", len(want), logs.Stats())
	}
}

func TestRealPlaces(t *testing.T) {
	dir := t.TempDir()
	realTree(t, dir, rand.New(rand.NewPCG(2, 1)), 300, 5)
	s := realStore(t, served(t, dir))
	var keys []string
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			keys = append(keys, strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(dir)+"/"))
		}
		return nil
	})
	for _, key := range keys[:5] {
		for place := key; place != "."; place = filepath.Dir(place) {
			want := localSteps(t, dir, place, ingest.Options{})
			for _, slash := range []string{"", "/"} {
				if place != key || slash == "" {
					diff(t, steps(t, bucketLogs(t, s, ingest.Options{}, "s3://logs/"+place+slash)), want)
				}
			}
		}
	}
	for place, want := range map[string]string{
		"s3://logs/nothing": "nothing under s3://logs/nothing; check the prefix",
		"s3://none/":        "s3://none: there is no such bucket; check its name",
	} {
		if _, err := s.Find(t.Context(), []string{place}, ingest.Options{}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", place, err, want)
		}
	}
	wrong := New(s3.New(client(t, "").Options(), func(o *s3.Options) {
		o.BaseEndpoint = s.api.(*s3.Client).Options().BaseEndpoint
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: sourcetest.AccessKey, SecretAccessKey: "wrong"}, nil
		})
	}), Options{PathStyle: true})
	if _, err := wrong.Find(t.Context(), []string{"s3://logs/"}, ingest.Options{}); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
		t.Errorf("wrong secret key: got %v", err)
	}
}

func TestRealConformance(t *testing.T) {
	dir := t.TempDir()
	realTree(t, dir, rand.New(rand.NewPCG(3, 1)), 120, 20)
	s := realStore(t, served(t, dir))
	want := sourcetest.Want{Disorder: 15 * 60}
	local, err := ingest.Open([]string{dir}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range local.Records(t.Context()) {
		var object *flow.ObjectError
		switch {
		case err == nil:
			want.Records++
		case errors.As(err, &object):
			want.ObjectErrors++
		default:
			want.RecordErrors++
		}
	}
	// Connections that are kept have goroutines, too.
	warm := steps(t, bucketLogs(t, s, ingest.Options{}, "s3://logs/"))
	if len(warm) != want.Records+want.RecordErrors+want.ObjectErrors {
		t.Fatalf("%d steps", len(warm))
	}
	sourcetest.Run(t, func(t *testing.T) ingest.Source {
		fresh := realStore(t, *s.api.(*s3.Client).Options().BaseEndpoint)
		transport := fresh.api.(*s3.Client).Options().HTTPClient.(*http.Client).Transport.(*http.Transport)
		transport.DisableKeepAlives = true
		return bucketLogs(t, fresh, ingest.Options{}, "s3://logs/")
	}, want)
}
