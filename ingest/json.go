package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonMessages reads the lines of a flow log that JSON wraps, one "message"
// each, and gives them as text. The values follow each other with or without
// line ends between them. The shapes are
//
//	{"message": "2 123456789012 eni-0a ..."}         Data Firehose, of a flow log
//	{"messageType": "DATA_MESSAGE", "logEvents": [{"message": ...}, ...]}
//	                                                 Data Firehose, of a log group's subscription
//	{"events": [{"message": ...}, ...]}              what aws logs filter-log-events prints
//
// and others of the same keys. Everything else in them is passed over: the
// events of a CONTROL_MESSAGE have a message that is no record, and show as
// such, so they are left out by their type.
// Source: CloudWatch Logs User Guide, "Subscription filters"; Amazon Data
// Firehose Developer Guide, "Send VPC flow logs".
type jsonMessages struct {
	dec     *json.Decoder
	limit   *limitedReader
	depth   int
	line    []byte // rest of the message at hand, with its line end
	control bool   // in a value whose messageType is CONTROL_MESSAGE
	values  int    // values that have ended
	found   bool   // a message, in the value at hand
	err     error
}

// maxJSONToken bounds what one value of JSON can take in memory, and
// maxJSONDepth how deep values that are passed over may be in each other,
// which the decoder keeps account of.
const (
	maxJSONToken = 4 * maxLine
	maxJSONDepth = 1000
)

func newJSONMessages(r io.Reader) *jsonMessages {
	j := &jsonMessages{limit: &limitedReader{r: r}}
	j.dec = json.NewDecoder(j.limit)
	j.dec.UseNumber() // no number that is passed over is too large
	return j
}

// looksLikeJSON reports whether text begins as jsonMessages does. No line of
// a flow log begins so.
func looksLikeJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

// Read implements io.Reader.
func (j *jsonMessages) Read(p []byte) (int, error) {
	for len(j.line) == 0 {
		if j.err != nil {
			return 0, j.err
		}
		j.err = j.next()
	}
	n := copy(p, j.line)
	j.line = j.line[n:]
	return n, nil
}

// Where things are in the shapes above, by depth.
const (
	outside    = 0
	topLevel   = 1 // in an object
	eventList  = 2
	eventLevel = 3 // in an object of the list
)

// next reads up to the next message.
func (j *jsonMessages) next() error {
	for {
		t, err := j.token()
		if err != nil {
			return err
		}
		var done bool
		switch {
		case t == json.Delim('}') || t == json.Delim(']'):
			err = j.leave()
		case j.depth == outside || j.depth == eventList:
			err = j.enter(t)
		default:
			done, err = j.member(t.(string)) // the decoder lets nothing else be a key
		}
		if done || err != nil {
			return err
		}
	}
}

// enter goes down into an object, which t is to begin.
func (j *jsonMessages) enter(t json.Token) error {
	if t != json.Delim('{') {
		return notFlowLog(fmt.Errorf("JSON without flow log records: %v where an object is expected", t))
	}
	j.depth++
	return nil
}

// leave goes up from an object or an array.
func (j *jsonMessages) leave() error {
	j.depth--
	if j.depth > outside {
		return nil
	}
	j.values++
	if !j.found && !j.control {
		return notFlowLog(errors.New(`JSON without flow log records: it has no "message"; ` +
			`what Data Firehose delivers, a subscription of a log group, or the output of "aws logs filter-log-events" is read`))
	}
	j.found, j.control = false, false
	return nil
}

// member reads the value of a key, and reports whether that gave a message.
// It enters the arrays that hold events, and passes over other values.
func (j *jsonMessages) member(key string) (bool, error) {
	switch {
	case key == "message" && (j.depth == topLevel || j.depth == eventLevel):
		return j.message()
	case key == "messageType" && j.depth == topLevel:
		kind, err := j.text(key)
		j.control = kind == "CONTROL_MESSAGE"
		return false, err
	case j.depth == topLevel && (key == "logEvents" || key == "events"):
		return false, j.events()
	}
	return false, j.pass()
}

// events enters an array of events. An empty one holds what was asked for:
// nothing.
func (j *jsonMessages) events() error {
	t, err := j.token()
	switch {
	case err != nil:
		return err
	case t != json.Delim('['):
		return notFlowLog(fmt.Errorf("JSON without flow log records: %v where a list of events is expected", t))
	}
	j.depth++
	j.found = true
	return nil
}

// text reads the value of a key, which is to be a text.
func (j *jsonMessages) text(key string) (string, error) {
	t, err := j.token()
	if err != nil {
		return "", err
	}
	text, ok := t.(string)
	if !ok {
		return "", notFlowLog(fmt.Errorf("JSON without flow log records: %s is %v, not a text", key, t))
	}
	return text, nil
}

func (j *jsonMessages) message() (bool, error) {
	text, err := j.text("message")
	if err != nil {
		return false, err
	}
	j.found = true
	if j.control {
		return false, nil
	}
	j.line = AppendMessage(nil, text)
	return true, nil
}

// pass passes over one value.
func (j *jsonMessages) pass() error {
	for depth := 0; ; {
		t, err := j.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		switch {
		case depth == 0:
			return nil
		case depth > maxJSONDepth:
			return notFlowLog(fmt.Errorf("JSON without flow log records: its values are more than %d deep in each other", maxJSONDepth))
		}
	}
}

// token reads the next token.
func (j *jsonMessages) token() (json.Token, error) {
	j.limit.left = maxJSONToken
	t, err := j.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil || err == io.EOF && j.depth == 0:
		return t, err
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, errors.New("the JSON ends early; the object may have been cut short")
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("value %d of the JSON, byte %d: %w", j.values+1, syntax.Offset, err)
	}
	return nil, err
}

// limitedReader gives an error when more is read in one go than the limit,
// where io.LimitedReader would give io.EOF.
type limitedReader struct {
	r    io.Reader
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("a value of the JSON is longer than 4 MiB")
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
