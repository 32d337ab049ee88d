package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"

	"ephemera/ingest/flow"
)

func TestJSONMessages(t *testing.T) {
	const shape = "JSON without flow log records"
	tests := []struct {
		name, text string
		want       string // messages, separated by "|"
		err        string // part of the error; empty for none
	}{
		{"Data Firehose", `{"message":"a b"}{"message":"c d"}`, "a b|c d", ""},
		{"a value a line", "{\"message\":\"a\"}\n{\"message\":\"b\"}\r\n", "a|b", ""},
		{"subscription", `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":2,"message":"a"},{"id":"2","message":"b"}]}`, "a|b", ""},
		{"control message", `{"messageType":"CONTROL_MESSAGE","logEvents":[{"message":"CWL CONTROL MESSAGE: Checking health"}]}{"message":"a"}`, "a", ""},
		{"control message without events", `{"messageType":"CONTROL_MESSAGE"}`, "", ""},
		{"aws logs filter-log-events", `{"events":[{"logStreamName":"eni-1-all","message":"a","eventId":"3"}],"searchedLogStreams":[{"logStreamName":"message"}]}`, "a", ""},
		{"aws logs get-log-events", `{"events":[{"message":"a"}],"nextForwardToken":"f/3","nextBackwardToken":"b/3"}`, "a", ""},
		{"no event", `{"events":[],"searchedLogStreams":[]}`, "", ""},
		{"no value", "", "", ""},
		{"escapes", `{"message":"a\u0020\"b\"\t\/\ud83d\ude00"}`, "a \"b\"\t/\U0001f600", ""},
		{"line ends", `{"message":"a\r\n"}{"message":"b\nc\n"}{"message":"\n"}`, "a|b\vc|", ""},
		{"message elsewhere", `{"other":{"message":"x","events":[{"message":"y"}]},"message":"a","list":["message","z"]}`, "a", ""},
		{"message deep in an event", `{"events":[{"more":{"message":"x"},"message":"a"}]}`, "a", ""},
		{"numbers that are too large", `{"n":1e999,"message":"a"}`, "a", ""},
		{"no message", `{"message":"a"}{"other":1}{"message":"b"}`, "a", shape + `: it has no "message"`},
		{"message is a number", `{"message":1}`, "", shape + ": message is 1, not a text"},
		{"message is an object", `{"message":{"message":"a"}}`, "", shape + ": message is {, not a text"},
		{"message is null", `{"message":null}`, "", shape + ": message is <nil>, not a text"},
		{"messageType is an object", `{"messageType":{"message":"a"}}1`, "", shape + ": messageType is {, not a text"},
		{"events is an object", `{"events":{"message":"a"}}`, "", shape + ": { where a list of events is expected"},
		{"events are texts", `{"events":["message","a"]}`, "", shape + ": message where an object is expected"},
		{"events are lists", `{"events":[["message","a"]]}`, "", shape + ": [ where an object is expected"},
		{"events are numbers", `{"events":[1]}`, "", shape + ": 1 where an object is expected"},
		{"a list", `{"message":"a"}["message","b"]`, "a", shape + ": [ where an object is expected"},
		{"a text", `{"message":"a"}"message"`, "a", shape + ": message where an object is expected"},
		{"cut in a value", `{"message":"a"}{"message":"b`, "a", "the JSON ends early"},
		{"cut between keys", `{"events":[{"message":"a"},`, "a", "the JSON ends early"},
		{"not JSON", `{"message":"a"}{message:"b"}`, "a", "value 2 of the JSON, byte 16"},
		{"too many brackets", `{"message":"a"}}`, "a", "value 2 of the JSON"},
		{"deep", `{"a":` + strings.Repeat("[", 2000), "", "more than 1000 deep"},
		{"long", `{"message":"` + strings.Repeat("x", 5<<20) + `"}`, "", "longer than 4 MiB"},
		{"long and passed over", `{"other":"` + strings.Repeat("x", 5<<20) + `","message":"a"}`, "", "longer than 4 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, err := io.ReadAll(newJSONMessages(strings.NewReader(test.text)))
			want := ""
			if test.want != "" || test.name == "line ends" {
				want = strings.ReplaceAll(test.want, "|", "\n") + "\n"
			}
			if string(text) != want {
				t.Errorf("got %q, want %q", text, want)
			}
			switch {
			case test.err == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got error %v, want %q in it", err, test.err)
			}
		})
	}
}

// TestJSONOfRecords reads the test data, wrapped in each shape, plain and
// compressed, and compares it to what the text itself gives.
func TestJSONOfRecords(t *testing.T) {
	content, err := os.ReadFile("testdata/v2-headerless.log")
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Format: defaultFormat}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	var want []string
	for rec, err := range Text(bytes.NewReader(content), "x", opts) {
		want = append(want, fmt.Sprintf("%+v %v", rec, err))
	}
	type event struct {
		Message string `json:"message"`
	}
	var events []event
	var firehose bytes.Buffer
	for _, line := range lines {
		events = append(events, event{line})
		json.NewEncoder(&firehose).Encode(event{line})
	}
	indented, _ := json.MarshalIndent(map[string]any{"events": events, "nextToken": "t"}, "", "    ")
	subscription, _ := json.Marshal(map[string]any{"messageType": "DATA_MESSAGE", "logEvents": events})
	shapes := map[string][]byte{
		"firehose": firehose.Bytes(), "cli": indented, "subscription": subscription,
		"with a byte order mark": append([]byte("\xef\xbb\xbf"), subscription...),
	}
	for name, text := range shapes {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, packed %v", name, packed), func(t *testing.T) {
				if packed {
					var b bytes.Buffer
					w := gzip.NewWriter(&b)
					w.Write(text)
					w.Close()
					text = b.Bytes()
				}
				var got []string
				for rec, err := range Text(bytes.NewReader(text), "x", opts) {
					got = append(got, fmt.Sprintf("%+v %v", rec, err))
				}
				if !slices.Equal(got, want) || len(want) == 0 {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
	t.Run("needs a format", func(t *testing.T) {
		for _, err := range Text(bytes.NewReader(firehose.Bytes()), "x", Options{}) {
			var object *flow.ObjectError
			if !errors.As(err, &object) || object.Fault != flow.NotFlowLog {
				t.Errorf("got %v, want an object's error", err)
			}
		}
	})
}

// member is a key of an object and its value.
type member struct {
	key   string
	value json.RawMessage
}

// membersOf returns the members of an object in their order, repeated keys
// included.
func membersOf(raw json.RawMessage) (members []member, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, false
		}
		members = append(members, member{key.(string), value})
	}
	return members, true
}

func textOf(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(raw, &text) == nil
}

// jsonLines is the oracle: it has each value whole, and takes it apart with
// json.Unmarshal. It returns the messages up to what is no JSON, or not of the
// right shape.
func jsonLines(text []byte) (lines []string, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return lines, err == io.EOF
		}
		more, ok := valueLines(raw)
		if lines = append(lines, more...); !ok {
			return lines, false
		}
	}
}

func valueLines(raw json.RawMessage) (lines []string, ok bool) {
	members, ok := membersOf(raw)
	if !ok {
		return nil, false
	}
	found, control := false, false
	add := func(raw json.RawMessage) bool {
		text, ok := textOf(raw)
		if ok && !control {
			lines = append(lines, strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\n", "\v"))
		}
		found = found || ok
		return ok
	}
	for _, m := range members {
		switch m.key {
		case "message":
			if !add(m.value) {
				return lines, false
			}
		case "messageType":
			kind, ok := textOf(m.value)
			if !ok {
				return lines, false
			}
			control = kind == "CONTROL_MESSAGE"
		case "events", "logEvents":
			var events []json.RawMessage
			if m.value[0] != '[' || json.Unmarshal(m.value, &events) != nil {
				return lines, false
			}
			found = true
			for _, e := range events {
				members, ok := membersOf(e)
				if !ok {
					return lines, false
				}
				for _, m := range members {
					if m.key == "message" && !add(m.value) {
						return lines, false
					}
				}
			}
		}
	}
	return lines, found || control
}

// chunks reads at most n bytes at a time.
type chunks struct {
	r io.Reader
	n int
}

func (c chunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

func checkJSON(t *testing.T, text []byte) {
	t.Helper()
	got, err := io.ReadAll(newJSONMessages(bytes.NewReader(text)))
	lines, ok := jsonLines(text)
	var want strings.Builder
	for _, line := range lines {
		want.WriteString(line + "\n")
	}
	switch {
	case ok && (err != nil || string(got) != want.String()):
		t.Errorf("%q: got %q and %v, want %q", text, got, err, want.String())
	case !ok && (err == nil || !strings.HasPrefix(string(got), want.String())):
		t.Errorf("%q: got %q and %v, want %q, and an error", text, got, err, want.String())
	}
	if n := bytes.Count(got, []byte("\n")); err == nil && n != len(lines) {
		t.Errorf("%q: %d lines, want %d", text, n, len(lines))
	}
	for name, r := range map[string]io.Reader{
		"one byte":   newJSONMessages(iotest.OneByteReader(bytes.NewReader(text))),
		"data, err":  newJSONMessages(iotest.DataErrReader(bytes.NewReader(text))),
		"seven, out": chunks{newJSONMessages(bytes.NewReader(text)), 7},
	} {
		again, err2 := io.ReadAll(r)
		if !bytes.Equal(again, got) || fmt.Sprint(err2) != fmt.Sprint(err) {
			t.Errorf("%q: got %q and %v, and read by %s %q and %v", text, got, err, name, again, err2)
		}
	}
}

// randomJSON makes values of the shapes that are read, and of some that are
// not.
func randomJSON(rng *rand.Rand, depth int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	text := func() string {
		b, _ := json.Marshal(pick("a", "2 1 eni-1 - -", "\n", "b\nc\r\n", "\x00é\U0001f600", "", "CONTROL_MESSAGE"))
		return string(b)
	}
	space := func() string { return pick("", "", "", " ", "\n", "\t \r\n") }
	list := func(open, end string, element func() string) string {
		var elements []string
		for range rng.IntN(4) {
			elements = append(elements, space()+element()+space())
		}
		return open + strings.Join(elements, ",") + end
	}
	var value func() string
	value = func() string {
		if depth--; depth < 0 || rng.IntN(3) == 0 {
			return pick(text(), text(), "1", "-2.5e400", "null", "true")
		}
		if rng.IntN(2) == 0 {
			return list("[", "]", value)
		}
		return list("{", "}", func() string { return text() + ":" + value() })
	}
	event := func() string {
		return list("{", "}", func() string {
			return pick(`"message":`+text(), `"message":`+text(), `"id":`+value(), `"events":`+value())
		})
	}
	switch rng.IntN(12) {
	case 0:
		return value()
	case 1:
		return `{"message":` + value() + "}"
	}
	return list("{", "}", func() string {
		return pick(`"message":`+text(), `"messageType":`+pick(`"CONTROL_MESSAGE"`, `"DATA_MESSAGE"`), `"owner":`+value(),
			`"logEvents":`+list("[", "]", event), `"events":`+list("[", "]", event))
	}) + space()
}

func TestJSONAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	whole := 0
	for range 8_000 {
		var b strings.Builder
		for range 1 + rng.IntN(4) {
			b.WriteString(randomJSON(rng, 12))
		}
		text := []byte(b.String())
		if rng.IntN(4) == 0 && len(text) > 0 {
			text = text[:rng.IntN(len(text))]
		}
		checkJSON(t, text)
		if _, ok := jsonLines(text); ok {
			whole++
		}
	}
	if whole < 500 {
		t.Errorf("only %d texts of 8000 are as they should be", whole)
	}
}

// endless gives a text over and over.
type endless struct {
	text string
	left int
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), e.left)]
	for n < len(p) {
		k := copy(p[n:], e.text[e.at:])
		e.at = (e.at + k) % len(e.text)
		n += k
	}
	e.left -= n
	return n, nil
}

// TestJSONMemory reads much, and looks at the memory it takes.
func TestJSONMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads much")
	}
	const much = 64 << 20
	tests := []struct{ name, head, text string }{
		{"brackets", `{"a":`, "["},
		{"objects", `{"a":`, `{"a":`},
		{"a text without end", `{"message":"`, "xxxxxxxx"},
		{"blanks", `{`, "        "},
		{"a number without end", `{"a":`, "1234567890"},
		{"many events", `{"events":[{"message":"x"}`, `,{"message":"2 123456789012 eni-1 - - - - - - - 1 2 - NODATA"}`},
		{"much to pass over", `{"a":[1`, `,{"b":["` + strings.Repeat("x", 1000) + `"]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := io.MultiReader(strings.NewReader(test.head), &endless{text: test.text, left: much})
			j := newJSONMessages(r)
			var most uint64
			buf := make([]byte, 1<<20)
			for err := error(nil); err == nil; {
				for range 10_000 {
					if _, err = j.Read(buf); err != nil {
						break
					}
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			if most > 48<<20 {
				t.Errorf("%d MiB are in use", most>>20)
			}
		})
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"message":"2 123456789012 eni-0a1 10.0.1.5 203.0.113.5 40000 21 6 12 712 1795370837 1795370861 ACCEPT OK"}`,
		`{"messageType":"CONTROL_MESSAGE","logEvents":[{"message":"x"}]}{"messageType":"DATA_MESSAGE","logEvents":[{"id":"1","message":"a\nb"}]}`,
		`{"events":[{"message":"a"},{"message":"b","more":[{"message":1}]}],"searchedLogStreams":[]}`,
		`{"message":"\ud800"}["message"]`,
		`{"events":["a"]}`, `{"a":[[{"b":{}}]],"message":""}`, `{"messageType":{}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxJSONDepth {
			t.Skip() // the oracle reads deeper
		}
		checkJSON(t, text)
	})
}
