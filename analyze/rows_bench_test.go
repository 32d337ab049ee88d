package analyze_test

import (
	"io"
	"testing"

	"ephemera/analyze"
	"ephemera/analyze/report"
)

// benchRows is about what ten million records give.
const benchRows = 300_000

// BenchmarkRows adds the rows of a large table, which go to a temporary file,
// and writes the reports of them.
func BenchmarkRows(b *testing.B) {
	b.Run("rejects", func(b *testing.B) {
		var rows []analyze.RejectedFlow
		for row := range manyRejects(benchRows) {
			rows = append(rows, row)
		}
		benchmarkRows(b, rows, analyze.NewRejects, func(r *analyze.Result, t *analyze.Rows[analyze.RejectedFlow]) { r.Rejects = t })
	})
	b.Run("mappings", func(b *testing.B) {
		var rows []analyze.Mapping
		for row := range manyMappings(benchRows) {
			rows = append(rows, row)
		}
		benchmarkRows(b, rows, analyze.NewMappings, func(r *analyze.Result, t *analyze.Rows[analyze.Mapping]) { r.Mappings = t })
	})
}

func benchmarkRows[T any](b *testing.B, rows []T, empty func() *analyze.Rows[T], put func(*analyze.Result, *analyze.Rows[T])) {
	step := func(name string, do func(b *testing.B, r *analyze.Result, t *analyze.Rows[T])) {
		b.Run(name, func(b *testing.B) {
			r := &analyze.Result{}
			defer r.Close()
			full := empty()
			put(r, full)
			if name != "add" && name != "all" {
				for _, row := range rows {
					full.Add(row)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				do(b, r, full)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
		})
	}
	add := func(*testing.B, *analyze.Result, *analyze.Rows[T]) {
		r := &analyze.Result{}
		t := empty()
		put(r, t)
		for _, row := range rows {
			t.Add(row)
		}
		r.Close()
	}
	read := func(b *testing.B, _ *analyze.Result, t *analyze.Rows[T]) {
		n := 0
		for range t.All() {
			n++
		}
		if n != len(rows) || t.Err() != nil {
			b.Fatalf("read %d rows of %d: %v", n, len(rows), t.Err())
		}
	}
	csv := func(b *testing.B, r *analyze.Result, _ *analyze.Rows[T]) {
		if err := report.WriteCSV(b.Context(), b.TempDir(), r); err != nil {
			b.Fatal(err)
		}
	}
	json := func(b *testing.B, r *analyze.Result, _ *analyze.Rows[T]) {
		if err := report.WriteJSON(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
	html := func(b *testing.B, r *analyze.Result, _ *analyze.Rows[T]) {
		if err := report.WriteHTML(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
	step("add", add)
	step("read", read)
	step("csv", csv)
	step("json", json)
	step("html", html)
	step("all", func(b *testing.B, _ *analyze.Result, _ *analyze.Rows[T]) {
		r := &analyze.Result{}
		t := empty()
		put(r, t)
		for _, row := range rows {
			t.Add(row)
		}
		csv(b, r, t)
		json(b, r, t)
		r.Close()
	})
}
