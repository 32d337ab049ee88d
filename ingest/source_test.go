package ingest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/ingest"
	"ephemera/ingest/sourcetest"
)

// TestLocalConformance lays out a directory with bad lines, a file that is
// no flow log, and files that cover the same time.
func TestLocalConformance(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const files, records = 20, 150
	for i := range files {
		var b strings.Builder
		b.WriteString("srcaddr srcport start end\n")
		for j := range records {
			end := 1795370000 + i/3*300 + (j*7)%200
			fmt.Fprintf(&b, "10.0.%d.1 %d %d %d\n", i, j, end-10, end)
		}
		b.WriteString("10.0.0.1 no-port 1 2\n")
		write(fmt.Sprintf("%02d.log", i), b.String())
	}
	write("notes.txt", "remember the milk\n")
	for _, jobs := range []int{1, 4} {
		t.Run(fmt.Sprintf("jobs=%d", jobs), func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) ingest.Source {
				l, err := ingest.Open([]string{dir}, ingest.Options{Jobs: jobs})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}, sourcetest.Want{Records: files * records, RecordErrors: files, ObjectErrors: 1, Disorder: 200})
		})
	}
}
