package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"ephemera/ingest/flow"
)

// Text decodes r, one flow log in text, plain or gzip in any number of
// members, whichever its content shows. Errors call it place.
//
// The fields are those of the header line, or of opts.Format where there is
// none; a later header line, as concatenating files leaves it, takes over
// from there. A line that does not parse yields a *flow.RecordError. An
// input that is no flow log, or that breaks, yields a *flow.ObjectError and
// ends the stream. A compressed input is decoded as it comes, so records in
// front of a damage are yielded before its checksum shows the damage.
//
// In a record of log-status OK, "-" is an error for srcaddr, dstaddr,
// protocol, start and end, and means an absent field elsewhere. Not safe for
// concurrent use.
func Text(r io.Reader, place string, opts Options) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		d := newTextDecoder(&opts)
		d.reset(r, place)
		yieldAll(d, yield)
	}
}

// textDecoder reads the records of one object, one at a time. It is reused
// for further objects, so that its buffers and strings are.
type textDecoder struct {
	opts     Options
	from, to int64 // of opts, in Unix seconds; to is 0 when open
	unpack   unpacker
	lines    lineReader
	names    interner

	place     string
	flowLogID string
	formats   []Format      // of the object, when it tells; see Object.Formats
	namer     LineNamer     // of the object, when it has one
	plan      *plan         // nil before the first line
	plans     map[int]*plan // of formats by the number of fields, when there are several
	records   int           // handed out
	done      bool

	// extras is where Record.Extra of the records to come is cut from. It
	// is replaced when full and never overwritten, so that a copied Record
	// stays whole.
	extras []flow.ExtraField
	kept   int // of the record at hand, at the end of extras
}

func newTextDecoder(opts *Options) *textDecoder {
	d := &textDecoder{opts: *opts}
	if !opts.From.IsZero() {
		d.from = opts.From.Unix()
	}
	if !opts.To.IsZero() {
		d.to = opts.To.Unix()
	}
	return d
}

// reset makes d read r from its beginning.
func (d *textDecoder) reset(r io.Reader, place string) {
	d.place = place
	d.flowLogID = flowLogID(place)
	d.plan, d.plans, d.records, d.done = nil, nil, 0, false
	d.unpack.reset(r)
	d.lines.reset(&d.unpack)
}

// next reads the next record inside the time window into r. After an error
// r is not valid. A *flow.RecordError and a *flow.ObjectError may be
// followed by more; io.EOF is the end.
func (d *textDecoder) next(r *flow.Record) error {
	for !d.done {
		if d.quick(r) {
			if d.inWindow(r) {
				d.records++
				return nil
			}
			continue
		}
		line, err := d.lines.next()
		if err == errLongLine {
			return d.recordError("", err, nil)
		}
		if err != nil {
			return d.end(err)
		}
		ok, err := d.line(r, line)
		if ok || err != nil {
			return err
		}
	}
	return io.EOF
}

// quick reads the next line into r if that can be done quickly, and reports
// whether it could.
func (d *textDecoder) quick(r *flow.Record) bool {
	if d.plan == nil || d.plan.quick == nil {
		return false
	}
	w, have := d.lines.ahead()
	n := d.quickRecord(r, w, have)
	if n > 0 {
		d.lines.pass(n)
	}
	return n > 0
}

// end ends the object, with an error unless it was read to its end.
func (d *textDecoder) end(err error) error {
	d.done = true
	if err == io.EOF {
		return io.EOF
	}
	return objectError(d.place, d.records, err)
}

// line reads one line and reports whether it gave a record.
func (d *textDecoder) line(r *flow.Record, line []byte) (bool, error) {
	line = trimEventTime(line)
	if len(line) == 0 {
		return false, nil
	}
	if d.plan == nil || d.plan.lax {
		if names, ok := headerOf(line); ok {
			return false, d.use(names)
		}
	}
	if d.plan == nil || d.plans != nil {
		if err := d.useGiven(line); err != nil {
			return false, err
		}
	}
	if field, err := d.record(r, line); err != nil {
		return false, d.notRecord(line, field, err)
	}
	if !d.inWindow(r) {
		return false, nil
	}
	d.records++
	return true, nil
}

// useGiven makes the plan for a line of an object without a header line, of
// the formats that were given with the object or in the options.
func (d *textDecoder) useGiven(line []byte) error {
	switch {
	case len(d.formats) > 1:
		return d.choose(line)
	case len(d.formats) == 1:
		return d.use(d.formats[0].names)
	case len(d.opts.Format.names) > 0:
		return d.use(d.opts.Format.names)
	}
	return d.end(notFlowLog(fmt.Errorf("no header line, but %q; where this is a flow log, "+
		"give its fields with --format, as a list such as %q or as the word default",
		clip(line), "${srcaddr} ${dstaddr} ${action}")))
}

// choose makes the plan for a line of one of several formats.
func (d *textDecoder) choose(line []byte) error {
	n := fieldCount(line)
	if d.plan != nil && len(d.plan.columns) == n {
		return nil
	}
	if d.plans == nil {
		d.plans = map[int]*plan{}
	}
	if d.plan = d.plans[n]; d.plan != nil {
		return nil
	}
	for _, f := range d.formats {
		if len(f.names) == n {
			err := d.use(f.names)
			d.plans[n] = d.plan
			return err
		}
	}
	return d.recordError("", fmt.Errorf("%s, and no flow log that is known here has so many", fields(n)), line)
}

func fields(n int) string {
	if n == 1 {
		return "1 field"
	}
	return fmt.Sprintf("%d fields", n)
}

func fieldCount(line []byte) int { return len(bytes.FieldsFunc(line, isBlank)) }

// use makes the plan for the fields of names. A list that cannot be read
// ends the object.
func (d *textDecoder) use(names []string) error {
	f, err := newFormat(slices.Clone(names))
	if err != nil {
		return d.end(notFlowLog(fmt.Errorf("header line: %w", err)))
	}
	if d.plan, err = newPlan(f, d.opts.wanted(), d.opts.KeepUnknown); err != nil {
		return d.end(notFlowLog(err))
	}
	return nil
}

// notRecord deals with a line that does not read as a record: it is a header
// line, or the error is reported. A shifted line shows in the number of its
// fields before it shows in a value.
func (d *textDecoder) notRecord(line []byte, field string, err error) error {
	if names, ok := headerOf(line); ok && mostlyKnown(names) {
		return d.use(names)
	}
	n := fieldCount(line)
	if want := len(d.plan.columns); n != want {
		field, err = "", fmt.Errorf("%s, where the format has %d", fields(n), want)
	}
	return d.recordError(field, err, line)
}

// errFieldCount is for a line of too few or too many fields. The numbers are
// added where the error is reported.
var errFieldCount = errors.New("wrong number of fields")

// record decodes line into r. With an error it names the field, if it was
// one field.
func (d *textDecoder) record(r *flow.Record, line []byte) (field string, err error) {
	*r = flow.Record{FlowLogID: d.flowLogID}
	d.kept = 0
	rest := line
	for i := range d.plan.columns {
		var tok []byte
		tok, rest = cut(rest)
		if len(tok) == 0 {
			return "", errFieldCount
		}
		c := &d.plan.columns[i]
		if c.read == skip || len(tok) == 1 && tok[0] == '-' {
			continue
		}
		if err := d.set(r, c, tok); err != nil {
			return c.name, err
		}
	}
	if tok, _ := cut(rest); len(tok) > 0 {
		return "", errFieldCount
	}
	r.Extra = d.takeExtra()
	if absent := d.plan.needed &^ r.Has; absent != 0 && r.Status == flow.OK {
		return d.plan.missing(absent), errors.New(`"-" in a record of log-status OK`)
	}
	return "", nil
}

func (d *textDecoder) set(r *flow.Record, c *column, tok []byte) error {
	if c.read == keep {
		s, err := d.names.text(tok)
		d.keepExtra(c.name, s)
		return err
	}
	r.Has |= flow.Fields(c.field)
	return d.setField(r, c.field, tok)
}

// keepExtra keeps a field of the record at hand by name.
func (d *textDecoder) keepExtra(name, value string) {
	if len(d.extras) == cap(d.extras) {
		began := d.extras[len(d.extras)-d.kept:]
		d.extras = append(make([]flow.ExtraField, 0, max(1024, 2*d.kept)), began...)
	}
	d.extras = append(d.extras, flow.ExtraField{Name: name, Value: value})
	d.kept++
}

// takeExtra returns what was kept of the record at hand.
func (d *textDecoder) takeExtra() []flow.ExtraField {
	if d.kept == 0 {
		return nil
	}
	n := len(d.extras)
	return d.extras[n-d.kept : n : n]
}

// inWindow reports whether r ends at or after From and starts before To, as
// far as it has these times.
func (d *textDecoder) inWindow(r *flow.Record) bool {
	if d.from != 0 && r.Has.Has(flow.FieldEnd) && r.End < d.from {
		return false
	}
	return d.to == 0 || !r.Has.Has(flow.FieldStart) || r.Start < d.to
}

func (d *textDecoder) recordError(field string, err error, line []byte) error {
	e := &flow.RecordError{Place: d.place, Line: d.lines.line, Field: field, Err: err, Text: clip(line)}
	if d.namer != nil {
		e.Place, e.Line = d.namer.NameLine(e.Line), 0
	}
	return e
}

// cut returns the first word of line and what follows it. AWS puts one blank
// between fields; where somebody put more, they count as one.
func cut(line []byte) (word, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	// IndexByte looks at many bytes at a time, where a loop would mostly
	// wait for the guess of each word's length.
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return line, nil
	}
	return line[:i], line[i+1:]
}

// trimEventTime drops blanks, and the ISO 8601 time that CloudWatch Logs
// puts before each line it exports to S3 ("2026-11-22T10:00:00.000Z 2 ...").
// No flow log field has a value of that form.
// Source: CloudWatch Logs User Guide, "Exporting log data to Amazon S3".
func trimEventTime(line []byte) []byte {
	line = bytes.Trim(line, " ")
	if len(line) < 11 || line[4] != '-' || line[10] != 'T' {
		return line // the usual case, decided quickly
	}
	word, rest := cut(line)
	if !isEventTime(word) {
		return line
	}
	return bytes.TrimLeft(rest, " ")
}

// eventTimeLength is that of the time CloudWatch Logs writes, and of the
// blank behind it.
const eventTimeLength = uint(len("2026-11-22T10:00:00.000Z "))

// isEventTime reports whether word is a UTC time to the second or finer.
func isEventTime(word []byte) bool {
	const second = "0000-00-00T00:00:00"
	if len(word) <= len(second) || word[len(word)-1] != 'Z' {
		return false
	}
	for i, c := range []byte(second) {
		if digit := '0' <= word[i] && word[i] <= '9'; word[i] != c && !(digit && c == '0') {
			return false
		}
	}
	return true
}
