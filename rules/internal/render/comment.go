package render

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// columns is how wide a comment may become before it is wrapped.
const columns = 100

// Line returns text as one line, with single spaces. What could end a comment
// or a line, or make it read otherwise than it is (line breaks, control
// characters, bidirectional formatting), becomes a space, or is escaped as Go
// does.
func Line(text string) string { return printable(strings.Join(strings.Fields(text), " ")) }

func printable(text string) string {
	var b strings.Builder
	for _, r := range text { // what is not UTF-8 comes as U+FFFD
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		escaped := strconv.QuoteRuneToASCII(r)
		b.WriteString(escaped[1 : len(escaped)-1])
	}
	return b.String()
}

// Comment returns paragraphs as comment lines without line breaks, each of
// which begins with "#", the comment sign of HCL, YAML and shells alike. Long
// paragraphs are wrapped between words; an empty one gives an empty comment.
func Comment(paragraphs ...string) []string {
	var lines []string
	for _, p := range paragraphs {
		lines = append(lines, wrap(Line(p))...)
	}
	return lines
}

// Verbatim returns text that is to be copied, such as a command, as a comment
// on one line, indented.
func Verbatim(text string) string { return "#   " + printable(text) }

// wrap indents what continues an item of a list, which begins with "- ".
func wrap(text string) []string {
	var lines []string
	line, width, start := "#", 1, "#"
	if strings.HasPrefix(text, "- ") {
		start = "#  "
	}
	for _, word := range strings.Fields(text) {
		w := utf8.RuneCountInString(word)
		if width+1+w > columns && width > len(start) {
			lines = append(lines, line)
			line, width = start, len(start)
		}
		line += " " + word
		width += 1 + w
	}
	return append(lines, line)
}
