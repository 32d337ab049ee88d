//go:build real

package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"ephemera/ingest/sourcetest"
)

// signedIn sets the environment of a user whom the servers of the tests know.
func signedIn(t testing.TB) {
	t.Setenv("AWS_ACCESS_KEY_ID", sourcetest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", sourcetest.SecretKey)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// organisation writes the flow logs of two accounts in two regions, each in
// the plain, the hourly and the Hive layout, as text and as Parquet.
func organisation(t *testing.T, dir string, objects int) (count int) {
	t.Helper()
	layouts := []struct{ folder, stamp string }{
		{"AWSLogs/%[1]s/vpcflowlogs/%[2]s/", "2006/01/02/"},
		{"AWSLogs/%[1]s/vpcflowlogs/%[2]s/", "2006/01/02/15/"},
		{"AWSLogs/aws-account-id=%[1]s/aws-service=vpcflowlogs/aws-region=%[2]s/", "year=2006/month=01/day=02/"},
	}
	series := 0
	for _, account := range []string{"111111111111", "222222222222"} {
		for _, region := range []string{"eu-west-1", "us-east-1"} {
			for l, layout := range layouts {
				series++
				for n := range objects {
					lines := traffic{perHour: 60}.object(n)
					at := traffic{}.at(n)
					name := filepath.Join(dir, fmt.Sprintf(layout.folder, account, region)+at.Format(layout.stamp)) +
						fmt.Sprintf("/%s_vpcflowlogs_%s_fl-%d_%s_%08x", account, region, series, at.Format("20060102T1504Z"), n)
					for i := range lines { // interfaces of their own
						lines[i] = strings.ReplaceAll(lines[i], "eni-", fmt.Sprintf("eni-%d-", series))
					}
					if (n+l)%3 == 0 {
						writeFile(t, name+".log.parquet", asParquet(t, lines))
					} else {
						writeFile(t, name+".log.gz", asText(t, lines))
					}
					count++
				}
			}
		}
	}
	return count
}

// asParquet writes lines as AWS does: names with underscores, gzip.
func asParquet(t testing.TB, lines []string) []byte {
	t.Helper()
	names := strings.Fields(strings.ReplaceAll(trafficHeader, "-", "_"))
	group := parquet.Group{}
	for _, name := range names {
		group[name] = parquet.Optional(parquetNode(name))
	}
	schema := parquet.NewSchema("vpcflowlogs", group)
	order := map[string]int{}
	for i, path := range schema.Columns() {
		order[path[0]] = i
	}
	var b bytes.Buffer
	w := parquet.NewWriter(&b, schema, parquet.Compression(&parquet.Gzip))
	for _, line := range lines {
		row := make(parquet.Row, len(names))
		for i, word := range strings.Fields(line) {
			column := order[names[i]]
			row[column] = parquetValue(t, names[i], word).Level(0, 1, column)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The types of numbers in AWS's Parquet.
var (
	int32s = []string{"version", "srcport", "dstport", "protocol", "tcp_flags"}
	int64s = []string{"packets", "bytes", "start", "end"}
)

func parquetNode(name string) parquet.Node {
	switch {
	case slices.Contains(int32s, name):
		return parquet.Int(32)
	case slices.Contains(int64s, name):
		return parquet.Int(64)
	}
	return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
}

func parquetValue(t testing.TB, name, word string) parquet.Value {
	t.Helper()
	number := func() int64 {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch {
	case slices.Contains(int32s, name):
		return parquet.Int32Value(int32(number()))
	case slices.Contains(int64s, name):
		return parquet.Int64Value(number())
	}
	return parquet.ByteArrayValue([]byte(word))
}

// The report over a bucket is that over the same files, byte for byte, from
// any level of the bucket, and for any time.
func TestBucketAsFiles(t *testing.T) {
	signedIn(t)
	buckets := t.TempDir()
	logs := filepath.Join(buckets, "logs")
	n := organisation(t, logs, 288)
	if n < 3000 {
		t.Fatalf("only %d objects", n)
	}
	url := sourcetest.S3(t, buckets)
	for _, c := range []struct {
		prefix, dir string
		flags       []string
	}{
		{"", "", nil},
		{"AWSLogs/111111111111/vpcflowlogs/us-east-1/2026/11/01/", "AWSLogs/111111111111/vpcflowlogs/us-east-1/2026/11/01", nil},
		{"AWSLogs/aws-account-id=222222222222", "AWSLogs/aws-account-id=222222222222", nil},
		{"AWSLogs", "AWSLogs", []string{"--from", "2026-11-01T06:30:00Z", "--to", "2026-11-01T08:00:00Z"}},
	} {
		t.Run(c.prefix, func(t *testing.T) {
			want := reports(t, filepath.Join(logs, filepath.FromSlash(c.dir)), c.flags...)
			if !strings.Contains(want["sessions.csv"], "203.0.113.10,21") {
				t.Fatal("there is no session in these logs")
			}
			got := reports(t, "s3://logs/"+c.prefix, append(c.flags, "--endpoint-url", url)...)
			sameReports(t, "from S3", got, want)
		})
	}
}

// Ctrl-C ends a run over a slow bucket within a second, and leaves no report
// and no temporary file.
func TestInterruptedBucket(t *testing.T) {
	signedIn(t)
	temporary, buckets := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	traffic{perHour: 20_000}.write(t, filepath.Join(buckets, "logs"), 3)
	url := sourcetest.S3(t, buckets)
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		out := filepath.Join(t.TempDir(), "report")
		ctx, interrupt := context.WithTimeout(t.Context(), after)
		start := time.Now()
		code, _, errs := runMain(ctx, "analyze", "--endpoint-url", url, "--out", out, "s3://logs/")
		if took := time.Since(start) - after; took > time.Second {
			t.Errorf("after %v: took %v more", after, took)
		}
		interrupt()
		if code != ExitFailed || !strings.Contains(errs, "ephemera: ") {
			t.Errorf("after %v: exit code %d, %s", after, code, errs)
		}
		reports, _ := filepath.Glob(filepath.Join(out, "*"))
		left, _ := filepath.Glob(filepath.Join(temporary, "ephemera*"))
		if len(reports)+len(left) > 0 {
			t.Errorf("after %v: there are %q and %q", after, reports, left)
		}
	}
}
