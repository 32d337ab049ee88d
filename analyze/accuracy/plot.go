package accuracy

import (
	_ "embed"
	"io"
	"math"
	"text/template"
)

// The picture's measures, in pixels: a square of side for the shares of 0 to
// 1, what is left around it, and the circle of the most guesses.
const (
	side          = 400
	left, top     = 64, 60
	right, bottom = 120, 56
	// Areas follow the number of guesses, down to a dot that can still be seen.
	largestRadius, leastRadius = 22, 1.5
)

// band is how far from the diagonal a tenth may be without a reader having
// to care.
const band = 0.08

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// A picture is what the template draws, in pixels.
type picture struct {
	Width, Height            int
	Left, Right, Top, Bottom float64 // of the square
	Band                     [6]spot // corners, around the diagonal
	Marks                    []mark
	Circles                  []circle
	Middle                   float64
	Enough                   int
	All, Percent             int
}

// A spot is a point of the picture.
type spot struct{ X, Y float64 }

// A mark is a tick of both axes.
type mark struct {
	spot
	Label string
}

// A circle is a tenth.
type circle struct {
	spot
	R, LabelX, LabelY float64
	Few               bool // fewer than enough guesses
	Right, All        int
	Stated, Share     float64
}

// at returns the point for a stated probability and a share of right guesses.
func at(stated, share float64) spot {
	return spot{tidy(left + side*stated), tidy(top + side*(1-share))}
}

// tidy rounds to tenths of a pixel.
func tidy(x float64) float64 { return math.Round(10*x) / 10 }

// Plot draws the calibration as SVG: for each tenth of stated probability a
// circle, whose area follows the number of guesses, at the mean that was
// stated and the share that was right. A circle on the diagonal is honest,
// one below it promises too much.
func (s *Score) Plot(w io.Writer) error {
	p := picture{
		Width: left + side + right, Height: top + side + bottom, Left: left, Right: left + side, Top: top, Bottom: top + side,
		Band:   [6]spot{at(0, 0), at(0, band), at(1-band, 1), at(1, 1), at(1, 1-band), at(band, 0)},
		Middle: left + side/2, Enough: enough, Percent: int(math.Round(100 * band)),
	}
	most := 0
	for _, t := range s.Stated {
		most = max(most, t.Right.All)
		p.All += t.Right.All
	}
	for i, label := range []string{"0", "0.2", "0.4", "0.6", "0.8", "1"} {
		share := float64(i) / 5
		p.Marks = append(p.Marks, mark{at(share, share), label})
	}
	for _, t := range s.Stated {
		if t.Right.All > 0 {
			p.Circles = append(p.Circles, newCircle(t, most))
		}
	}
	return plotTemplate.Execute(w, p)
}

// newCircle draws a tenth, where the largest has most guesses.
func newCircle(t Tenth, most int) circle {
	c := circle{
		Few: t.Right.All < enough, Right: t.Right.N, All: t.Right.All,
		Stated: t.Stated / float64(t.Right.All), Share: t.Right.Share(),
	}
	c.spot = at(c.Stated, c.Share)
	c.R = tidy(max(leastRadius, largestRadius*math.Sqrt(float64(t.Right.All)/float64(most))))
	c.LabelX, c.LabelY = tidy(c.X+c.R+5), tidy(c.Y+4)
	return c
}
