package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// unpacker reads the text of an object that is stored plain or as gzip. Its
// errors are worded for the object's *flow.ObjectError.
type unpacker struct {
	src  *bufio.Reader
	own  *bufio.Reader // for what comes without one
	gzip *gzip.Reader
	text io.Reader // src, gzip, or the messages in them; nil before the first Read
	err  error
}

func (u *unpacker) reset(r io.Reader) {
	if buffered, ok := r.(*bufio.Reader); ok {
		u.src = buffered
	} else {
		if u.own == nil {
			u.own = bufio.NewReaderSize(nil, 64<<10)
		}
		u.own.Reset(r)
		u.src = u.own
	}
	u.text, u.err = nil, nil
}

// Read implements io.Reader.
func (u *unpacker) Read(p []byte) (n int, err error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.text == nil {
		n, u.err = u.first(p)
	} else {
		n, u.err = u.text.Read(p)
	}
	u.err = explain(u.err)
	return n, u.err
}

// first reads the beginning of the text, and refuses what is none.
func (u *unpacker) first(p []byte) (int, error) {
	if err := u.open(); err != nil {
		return 0, err
	}
	n, err := io.ReadAtLeast(u.text, p, 1)
	if text, ok := bytes.CutPrefix(p[:n], byteOrderMark); ok {
		n = copy(p, text)
	}
	for err == nil && n < len(p) && len(bytes.TrimLeft(p[:n], " \t\r\n")) == 0 {
		var more int // what it is shows behind the blanks
		more, err = u.text.Read(p[n:])
		n += more
	}
	if bytes.IndexByte(p[:n], 0) >= 0 {
		return 0, notFlowLog(errors.New("not a flow log: neither text, nor gzip of text, nor Parquet"))
	}
	if !looksLikeJSON(p[:n]) {
		return n, err
	}
	u.text = newJSONMessages(io.MultiReader(bytes.NewReader(bytes.Clone(p[:n])), failedAfter(u.text, err)))
	return u.text.Read(p)
}

// failedAfter goes on reading r, unless err says that this has ended.
func failedAfter(r io.Reader, err error) io.Reader {
	if err != nil {
		return failed{err}
	}
	return r
}

// byteOrderMark is what some editors put before UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// open looks at the first bytes to see how the object is stored.
func (u *unpacker) open() error {
	head, err := u.src.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	switch {
	case string(head) == "PAR1":
		return errors.New("this is Parquet, not text")
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return u.openGzip()
	}
	u.text = u.src
	return nil
}

func (u *unpacker) openGzip() (err error) {
	if u.gzip == nil {
		u.gzip, err = gzip.NewReader(u.src)
	} else {
		err = u.gzip.Reset(u.src)
	}
	u.text = u.gzip
	return err
}

// explain says what the errors of gzip mean for a flow log. An error of
// reading that wraps io.ErrUnexpectedEOF is not gzip's.
func explain(err error) error {
	switch {
	case err == io.ErrUnexpectedEOF:
		return errors.New("the compressed data ends early; the object may have been cut short")
	case errors.Is(err, gzip.ErrHeader):
		return fmt.Errorf("the compressed data is damaged or followed by something else: %w", err)
	}
	return err
}
