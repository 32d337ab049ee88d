package ingest

import (
	"bufio"
	"errors"
	"io"
	"os"

	"ephemera/ingest/flow"
)

// decoder reads one object after the other, each as what its content shows
// it to be: text, plain or compressed, JSON that wraps text, or Parquet.
type decoder struct {
	opts    *Options
	src     *bufio.Reader
	text    *textDecoder
	parquet *parquetDecoder // nil before the first Parquet

	object  *Object
	content io.Reader
	spooled *os.File // copy of content that has no random access
	reader  recordReader
}

// recordReader is what text and Parquet decoders have in common. See
// textDecoder.next.
type recordReader interface {
	next(*flow.Record) error
}

// yieldAll yields what r reads.
func yieldAll(r recordReader, yield func(*flow.Record, error) bool) {
	var rec flow.Record
	for {
		err := r.next(&rec)
		switch {
		case err == io.EOF:
			return
		case err != nil:
			if !yield(nil, err) {
				return
			}
		case !yield(&rec, nil):
			return
		}
	}
}

func newDecoder(opts *Options) *decoder {
	return &decoder{opts: opts, src: bufio.NewReaderSize(nil, 64<<10), text: newTextDecoder(opts)}
}

// reset makes d read the object o. It reads from r, which is the object's
// content, or a reader around it.
func (d *decoder) reset(r io.Reader, content io.ReadCloser, o *Object) {
	d.close()
	d.src.Reset(r)
	d.object, d.content, d.reader = o, content, nil
}

// next reads the next record inside the time window into r. See
// textDecoder.next.
func (d *decoder) next(r *flow.Record) error {
	if d.reader == nil {
		if err := d.open(); err != nil {
			d.reader = ended{}
			return objectError(d.object.Place, 0, err)
		}
	}
	return d.reader.next(r)
}

// open looks at the first bytes to see what the object is.
func (d *decoder) open() error {
	head, err := d.src.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	plain := len(d.object.Formats) > 0
	if (string(head) == "PAR1" || string(head) == "PARE") && !plain { // plain or encrypted footer
		return d.openParquet()
	}
	d.text.formats = d.object.Formats
	d.text.namer, _ = d.content.(LineNamer)
	d.text.reset(d.src, d.object.Place)
	if plain {
		d.text.unpack.text = d.src
	}
	d.reader = d.text
	return nil
}

func (d *decoder) openParquet() (err error) {
	at, ok := d.content.(RandomAccess)
	if !ok {
		if at, err = d.spool(); err != nil {
			return err
		}
	}
	if d.parquet == nil {
		d.parquet = newParquetDecoder(d.opts)
	}
	d.parquet.reset(at, at.Size(), d.object.Place)
	d.reader = d.parquet
	return nil
}

// spool copies the content to a temporary file.
func (d *decoder) spool() (RandomAccess, error) {
	f, err := os.CreateTemp("", "ephemera-*.parquet")
	if err != nil {
		return nil, err
	}
	d.spooled = f
	n, err := io.Copy(f, d.src)
	return sized{f, n}, err
}

// sized is a file, or anything like it, whose length is known.
type sized struct {
	io.ReaderAt
	size int64
}

func (s sized) Size() int64 { return s.size }

// close lets go of the object, but for the content itself.
func (d *decoder) close() {
	if d.parquet != nil {
		d.parquet.close()
	}
	if d.spooled != nil {
		_ = d.spooled.Close() // it is thrown away
		_ = os.Remove(d.spooled.Name())
		d.spooled = nil
	}
}

// ended is the reader behind the end of an object.
type ended struct{}

func (ended) next(*flow.Record) error { return io.EOF }

// objectError makes err, which ended the object at place, the error of that
// object.
func objectError(place string, records int, err error) error {
	var known *flow.ObjectError
	if errors.As(err, &known) && known.Place == "" {
		return &flow.ObjectError{Place: place, Records: records, Fault: known.Fault, Err: known.Err}
	}
	return &flow.ObjectError{Place: place, Records: records, Err: err}
}

// notFlowLog is the error of an object that holds something else.
func notFlowLog(err error) error {
	return &flow.ObjectError{Fault: flow.NotFlowLog, Err: err}
}
