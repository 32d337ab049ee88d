package ingest

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxLine bounds a line, so that a file that is no flow log cannot fill the
// memory. A record of all fields with the longest ARNs and tags stays under
// 8 KiB.
const maxLine = 1 << 20

var errLongLine = errors.New("line longer than 1 MiB")

// lineReader cuts its input into lines in place. It stands in for
// bufio.Scanner, which stops at a line that is too long, and does not tell a
// last line from one that a read error cut off.
type lineReader struct {
	r io.Reader
	// buf has windowSize bytes more than are read into it: see window.
	buf []byte
	// buf[start:end] has been read and not handed out.
	start, end int
	err        error // of the last read, io.EOF included
	line       int   // number of the line handed out last
}

func (l *lineReader) reset(r io.Reader) {
	if l.buf == nil {
		l.buf = make([]byte, 64<<10+windowSize)
	}
	*l = lineReader{r: r, buf: l.buf}
}

// next returns the next line without its end, LF or CRLF. It is valid until
// the following call. A line that is too long is skipped and gives
// errLongLine; reading can go on. The read error, or io.EOF, comes after
// the last complete line. What follows the last line end is a line at
// io.EOF, and is dropped before any other error, which may have cut it.
func (l *lineReader) next() ([]byte, error) {
	scanned := l.start
	for {
		if i := bytes.IndexByte(l.buf[scanned:l.end], '\n'); i >= 0 {
			return l.take(scanned+i, scanned+i+1), nil
		}
		if l.err != nil {
			return l.last()
		}
		unread := l.end - l.start
		if unread >= maxLine {
			return nil, l.skipLine()
		}
		l.fill()
		scanned = l.start + unread
	}
}

// ahead returns the window at the next line, and how many bytes of that have
// been read.
func (l *lineReader) ahead() (*window, int) {
	return (*window)(l.buf[l.start:]), l.end - l.start
}

// pass goes on behind a line of n bytes, its end included.
func (l *lineReader) pass(n int) {
	l.start += n
	l.line++
}

// take hands out buf[start:end] as a line, and goes on at next.
func (l *lineReader) take(end, next int) []byte {
	line := l.buf[l.start:end]
	l.start = next
	l.line++
	return bytes.TrimSuffix(line, []byte("\r"))
}

func (l *lineReader) last() ([]byte, error) {
	if l.err != io.EOF || l.start == l.end {
		return nil, l.err
	}
	return l.take(l.end, l.end), nil
}

// fill reads once, after making room.
func (l *lineReader) fill() {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == len(l.buf)-windowSize {
		l.buf = append(l.buf, make([]byte, len(l.buf)-windowSize)...)
	}
	var n int
	n, l.err = l.r.Read(l.buf[l.end : len(l.buf)-windowSize])
	l.end += n
}

// skipLine drops input up to the next line end and returns errLongLine.
func (l *lineReader) skipLine() error {
	l.line++
	for {
		if i := bytes.IndexByte(l.buf[l.start:l.end], '\n'); i >= 0 {
			l.start += i + 1
			return errLongLine
		}
		l.start = l.end
		if l.err != nil {
			return errLongLine
		}
		l.fill()
	}
}

// AppendMessage appends a log event's message to text as one line. A message
// is one record, whatever it holds: a line end in it must not make it two.
func AppendMessage(text []byte, message string) []byte {
	start := len(text)
	text = append(text, strings.TrimRight(message, "\r\n")...)
	for i, c := range text[start:] {
		if c == '\n' {
			text[start+i] = '\v'
		}
	}
	return append(text, '\n')
}
