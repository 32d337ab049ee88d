package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// print prints a table of medians, least to greatest in brackets, and how
// many times of the last contestant's each is.
func (g *group) print(w io.Writer) error {
	last := g.contestants[len(g.contestants)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s (%s)\n\n", g.title, g.name)
	b.WriteString("| | CPU s | wall s | peak MB | CPU | wall | peak |\n|---|---|---|---|---|---|---|\n")
	for _, c := range g.contestants {
		fmt.Fprintf(&b, "| %s |", c.name)
		for _, column := range columns {
			b.WriteString(" " + column.cell(c.runs) + " |")
		}
		for _, column := range columns {
			fmt.Fprintf(&b, " %.2fx |", column.median(c.runs)/column.median(last.runs))
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// column is one of the figures that are printed.
type column struct {
	of     func(usage) float64
	format string
}

var columns = []column{
	{func(u usage) float64 { return u.cpu.Seconds() }, "%.2f"},
	{func(u usage) float64 { return u.wall.Seconds() }, "%.2f"},
	{func(u usage) float64 { return float64(u.memory) / (1 << 20) }, "%.0f"},
}

func (c column) sorted(runs []usage) []float64 {
	values := make([]float64, len(runs))
	for k, u := range runs {
		values[k] = c.of(u)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values
}

// median is the middle value, of an even number the mean of two.
func (c column) median(runs []usage) float64 {
	v := c.sorted(runs)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (c column) cell(runs []usage) string {
	v := c.sorted(runs)
	return fmt.Sprintf(c.format+" ("+c.format+"-"+c.format+")", c.median(runs), v[0], v[len(v)-1])
}

// printMachine tells what the figures are of.
func (b *bench) printMachine(ctx context.Context, w io.Writer) error {
	duck, err := exec.CommandContext(ctx, b.program("duck"), "version").Output()
	if err != nil {
		return fmt.Errorf("duck version: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s, %d cores, %s/%s; %s; DuckDB %s; %d records; medians of %d rounds (least-greatest); load %s\n",
		cpuModel(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), strings.TrimSpace(string(duck)),
		b.records, b.rounds, load())
	return err
}

// cpuModel is the processor's name, as far as the system tells.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "processor of unknown name"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor of unknown name"
}

// load is how many processes wanted to run in the last 1, 5 and 15 minutes:
// far more than the benchmark's two mean that the machine was not its own.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 3 {
		return strings.Join(fields[:3], " ")
	}
	return "unknown"
}
