package cli

import (
	"fmt"
	"log/slog"

	"ephemera/ingest/flow"
)

// shownProblems is how many bad records are named on stderr without -v.
const shownProblems = 5

// problems counts what could not be read, and names the first ones.
type problems struct {
	log              *slog.Logger
	verbose          bool
	records, objects int
	good             int
	first            error
}

// watch passes a stream through, and notes its problems.
func (p *problems) watch(records flowStream) flowStream {
	return func(yield func(*flow.Record, error) bool) {
		for r, err := range records {
			p.note(err)
			if !yield(r, err) {
				return
			}
		}
	}
}

func (p *problems) note(err error) {
	if err == nil {
		p.good++
		return
	}
	if p.first == nil {
		p.first = err
	}
	switch e := err.(type) { //nolint:errorlint // streams yield them unwrapped
	case *flow.RecordError:
		p.records++
		if p.verbose || p.records <= shownProblems {
			p.log.Warn("bad record skipped", "error", e.Error(), "text", e.Text)
		}
	case *flow.ObjectError:
		p.objects++
		p.log.Warn("object not read to its end", "error", e.Error())
	}
}

// close sums up, and fails when nothing at all could be read.
func (p *problems) close() error {
	if p.records > shownProblems && !p.verbose {
		p.log.Warn(fmt.Sprintf("%d bad records in all; -v names each", p.records))
	}
	if p.good == 0 && p.first != nil {
		return fmt.Errorf("no flow log record could be read: %w", p.first)
	}
	return nil
}
