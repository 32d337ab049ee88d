package accuracy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// uneven is a score with tenths of all kinds: none, few and many guesses, on
// the diagonal and off it.
func uneven() *Score {
	s := &Score{}
	s.Stated[2] = Tenth{Right: Ratio{3, 12}, Stated: 12 * 0.25}
	s.Stated[5] = Tenth{Right: Ratio{80, 200}, Stated: 200 * 0.55}
	s.Stated[8] = Tenth{Right: Ratio{360, 400}, Stated: 400 * 0.85}
	s.Stated[9] = Tenth{Right: Ratio{1590, 1600}, Stated: 1600 * 0.995}
	return s
}

func TestPlot(t *testing.T) {
	for name, s := range map[string]*Score{"uneven": uneven(), "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := s.Plot(&got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".svg")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: got\n%s\nwant\n%s", file, &got, want)
			}
			for d := xml.NewDecoder(&got); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("no XML: %v", err)
				}
			}
		})
	}
}

// Circles are where their numbers say, and their areas follow the guesses.
func TestCircle(t *testing.T) {
	for _, test := range []struct {
		tenth Tenth
		most  int
		want  spot
		r     float64
	}{
		{Tenth{Ratio{0, 10}, 0}, 10, spot{left, top + side}, largestRadius},
		{Tenth{Ratio{10, 10}, 10}, 40, spot{left + side, top}, largestRadius / 2},
		{Tenth{Ratio{10, 40}, 20}, 160, spot{left + side/2, top + side*3/4}, largestRadius / 2},
		{Tenth{Ratio{1, 1}, 0.25}, 10000, spot{left + side/4, top}, leastRadius},
	} {
		c := newCircle(test.tenth, test.most)
		if c.spot != test.want || math.Abs(c.R-test.r) > 0.05 {
			t.Errorf("%v of %d: got %v and radius %v, want %v and %v", test.tenth, test.most, c.spot, c.R, test.want, test.r)
		}
		if c.Few != (test.tenth.Right.All < enough) {
			t.Errorf("%v: few is %v", test.tenth, c.Few)
		}
	}
}
