//go:build real

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"ephemera/ingest/sourcetest"
)

// BenchmarkPeakMemory analyses a bucket of one day, and one of ten days of
// the same traffic, as the program does, and reports the most memory that
// each took.
func BenchmarkPeakMemory(b *testing.B) {
	signedIn(b)
	program := filepath.Join(b.TempDir(), "ephemera")
	if out, err := exec.Command("go", "build", "-o", program, "../../ephemera").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	buckets := b.TempDir()
	g := traffic{perHour: 2000}
	g.write(b, filepath.Join(buckets, "day"), 24)
	g.write(b, filepath.Join(buckets, "ten-days"), 240)
	url := sourcetest.S3(b, buckets)
	peak := func(bucket string) (megabytes float64) {
		cmd := exec.Command(program, "analyze", "-q", "--endpoint-url", url, "--network", filepath.Join(article, "config"), "--out", b.TempDir(), "s3://"+bucket+"/")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	}
	day, tenDays, n := 0.0, 0.0, 0.0
	for b.Loop() {
		day += peak("day")
		tenDays += peak("ten-days")
		n++
	}
	b.ReportMetric(day/n, "MB/day")
	b.ReportMetric(tenDays/n, "MB/ten-days")
	b.ReportMetric(tenDays/day, "ratio")
}
