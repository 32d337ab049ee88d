//go:build real

package function_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ephemera/cmd/internal/runtimeapi"
	"ephemera/ingest/sourcetest"
	"ephemera/ingest/traffic"
)

// deployed is the function in a Lambda with one environment, for a benchmark.
func deployed(b *testing.B, url string, memory int) *runtimeapi.Lambda {
	b.Helper()
	program, err := bootstrap()
	if err != nil {
		b.Fatal(err)
	}
	f, err := runtimeapi.Start(b.Context(), runtimeapi.Config{
		Bootstrap: program, Memory: memory, Timeout: 5 * time.Minute,
		Env: []string{
			"AWS_ACCESS_KEY_ID=" + sourcetest.AccessKey, "AWS_SECRET_ACCESS_KEY=" + sourcetest.SecretKey, "AWS_EC2_METADATA_DISABLED=true",
			"AWS_ENDPOINT_URL_S3=" + url, "EPHEMERA_DIGESTS=s3://out/digests/", "EPHEMERA_REPORTS=s3://out/reports/", "EPHEMERA_DAYS=0",
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func invoke(b *testing.B, f *runtimeapi.Lambda, payload []byte) runtimeapi.Result {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	r, err := f.Invoke(ctx, payload)
	if err != nil || r.FunctionError != "" {
		b.Fatalf("%v %s: %s", err, r.FunctionError, r.ErrorMessage)
	}
	return r
}

// childrenCPU is the processor time of the processes that have ended, in
// seconds.
func childrenCPU(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkColdStart is the time from the start of the process to its first
// answer, and how much of it passes before it asks for an event.
func BenchmarkColdStart(b *testing.B) {
	var init, all time.Duration
	for b.Loop() {
		f := deployed(b, "http://127.0.0.1:1", 512) // nothing is asked of S3
		r := invoke(b, f, runtimeapi.S3TestEvent("logs", time.Now()))
		init += r.InitDuration
		all += r.InitDuration + r.Duration
		if err := f.Stop(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(init.Milliseconds())/float64(b.N), "ms/init")
	b.ReportMetric(float64(all.Milliseconds())/float64(b.N), "ms/answer")
}

// BenchmarkMillion digests a million records in objects of some thirty
// thousand, one event each, and reports on them: processor time, time, and
// peak memory of the function, and the bytes of digests for each of the
// objects'.
func BenchmarkMillion(b *testing.B) {
	const records, objects = 1_000_000, 36
	logs := b.TempDir()
	stats, err := traffic.Write(logs, traffic.Config{Records: records, Duration: objects * 5 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	l := newLab(b)
	notices := l.putFolder(filepath.Join(logs, "AWSLogs"), "logs", "AWSLogs/")
	millions := float64(stats.Records) / 1e6

	phase := func(name string, memory int, payloads ...[]byte) {
		cpu, peak := childrenCPU(b), int64(0)
		f := deployed(b, l.url, memory)
		began := time.Now()
		for _, p := range payloads {
			peak = max(peak, invoke(b, f, p).MaxRSS)
		}
		wall := time.Since(began)
		if err := f.Stop(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((childrenCPU(b)-cpu)/millions, name+"-cpu-s/M")
		b.ReportMetric(wall.Seconds()/millions, name+"-s/M")
		b.ReportMetric(float64(peak)/1e6, name+"-MB")
	}
	var events [][]byte
	for _, n := range notices {
		events = append(events, runtimeapi.S3Event(n))
	}
	for b.Loop() {
		phase("digest", 512, events...)
		phase("report", 2048, runtimeapi.ScheduledEvent("us-east-1", time.Now()))
	}
	digested := int64(0)
	for _, name := range l.digests() {
		info, err := os.Stat(filepath.Join(l.buckets, "out", "digests", name))
		if err != nil {
			b.Fatal(err)
		}
		digested += info.Size()
	}
	b.ReportMetric(float64(digested)/float64(stats.Bytes), "digest-B/object-B")
}

// BenchmarkLargeObject digests one object of 75 MB, the largest that AWS
// delivers, with the memory that the deployment gives.
func BenchmarkLargeObject(b *testing.B) {
	const records = 5_000_000
	logs := b.TempDir()
	stats, err := traffic.Write(logs, traffic.Config{Records: records, Duration: 5 * time.Minute})
	if err != nil || stats.Objects != 1 {
		b.Fatalf("%+v, %v", stats, err)
	}
	l := newLab(b)
	notices := l.putFolder(filepath.Join(logs, "AWSLogs"), "logs", "AWSLogs/")
	var peak int64
	var took time.Duration
	for b.Loop() {
		f := deployed(b, l.url, 512)
		r := invoke(b, f, runtimeapi.S3Event(notices...))
		peak, took = max(peak, r.MaxRSS), took+r.Duration
		if err := f.Stop(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(stats.Bytes)/1e6, "object-MB")
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	b.ReportMetric(took.Seconds()/float64(b.N), "s/object")
}
