package questions

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// file is an answer: its name, and what writes it.
type file struct {
	name  string
	write func(*csvWriter)
}

// writeFiles writes files into dir.
func writeFiles(dir string, files ...file) error {
	if dir == "" {
		return fmt.Errorf("no directory for the answers; give one to write %s to", files[0].name)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, write func(*csvWriter)) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := &csvWriter{out: bufio.NewWriterSize(f, 64<<10)}
	write(w)
	err = w.out.Flush() // tells the error of any write before it, too
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// csvWriter writes rows of cells that need no quotes. Its error is that of
// out.Flush.
type csvWriter struct {
	out *bufio.Writer
	row []byte
}

func (w *csvWriter) header(line string) {
	w.text(line)
	w.end()
}

func (w *csvWriter) text(s string) { w.row = append(append(w.row, s...), ',') }

func (w *csvWriter) number(n uint64) { w.row = append(strconv.AppendUint(w.row, n, 10), ',') }

func (w *csvWriter) time(t int64) { w.row = append(strconv.AppendInt(w.row, t, 10), ',') }

// end ends the row.
func (w *csvWriter) end() {
	w.row[len(w.row)-1] = '\n'
	_, _ = w.out.Write(w.row) // Flush tells
	w.row = w.row[:0]
}

// ranking puts texts in the order of their bytes: comparing ranks, which are
// places in that order, is cheaper than comparing texts.
type ranking struct {
	sorted []string // by rank
	ranks  []uint32 // by the place in what was given
}

// rank ranks texts.
func rank(texts []string) ranking {
	order := make([]int, len(texts))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(texts[a], texts[b]) })
	r := ranking{make([]string, len(texts)), make([]uint32, len(texts))}
	for place, i := range order {
		r.sorted[place] = texts[i]
		r.ranks[i] = uint32(place)
	}
	return r
}
