// Package arrows holds one test: that the packages of Ephemera import each
// other in one direction only,
//
//	cmd -> analyze/report -> analyze -> rules -> ingest/flow <- ingest <- cmd
//
// and that the AWS SDK stays in the packages that talk to AWS. Imports of
// test files are not looked at.
package arrows

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ephemera"

// An arrow says what the packages that from names may import of ours. A
// name that ends in /... stands for the packages below it, too. The first
// arrow that names a package decides.
type arrow struct {
	from, to, why string
}

var arrows = []arrow{
	{"ingest/flow", "", "flow is the vocabulary of all packages and stands on the standard library alone"},
	{"ingest/traffic", "ingest/flow", "traffic makes up logs to measure with, and knows nothing of how they are read"},
	{"ingest/...", "ingest/...", "sources and decoders translate; they know neither rules nor connections"},
	{"rules", "ingest/flow", "rules see packets, never a connection, a source or AWS"},
	{"rules/...", "rules/... ingest/flow", "what reads or prints rules knows rules only"},
	{"analyze", "analyze/pair analyze/picker rules ingest/flow", "analyze takes records, and sees no source, decoder or output"},
	{"analyze/pair", "", "pair sees numbers and times, and knows no flow log"},
	{"analyze/picker", "rules", "picker sees ports and times, and knows no flow log"},
	{"analyze/report", "analyze rules ingest/flow", "report prints a result, and does not make one"},
	{"analyze/simulate", "ingest/flow", "simulate is an independent source of the truth, and knows nothing of how it is found"},
	{"analyze/accuracy", "analyze analyze/simulate rules ingest/flow", "accuracy measures a result, and does not make one"},
	{"cmd/...", "...", ""},
}

// aws are the packages that may name the AWS SDK. Its EC2 package alone
// takes minutes to compile, which the other packages' tests shall not pay.
var aws = []string{"ingest/bucket", "ingest/loggroup", "rules/deployed", "cmd/..."}

// wrong returns one line for each import that no arrow allows. Imports maps
// the import path of each package of ours to what it imports.
func wrong(imports map[string][]string) []string {
	var lines []string
	for pkg, list := range imports {
		from := strings.TrimPrefix(pkg, module+"/")
		i := slices.IndexFunc(arrows, func(a arrow) bool { return matches(a.from, from) })
		if i < 0 {
			lines = append(lines, pkg+" has no arrow: say here what it may import")
			continue
		}
		for _, imp := range list {
			if why := arrows[i].objection(from, imp); why != "" {
				lines = append(lines, fmt.Sprintf("%s imports %s: %s", pkg, imp, why))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// objection returns why the package from, which the arrow names, must not
// import imp; it is empty if it may.
func (a arrow) objection(from, imp string) string {
	first, _, _ := strings.Cut(imp, "/")
	switch {
	case first == module:
		if !anyMatches(strings.Fields(a.to), strings.TrimPrefix(imp, module+"/")) {
			return a.why
		}
	case !strings.Contains(first, "."): // the standard library
	case from == "ingest/flow":
		return a.why
	case strings.HasPrefix(imp, "github.com/aws/") && !anyMatches(aws, from):
		return "the AWS SDK is named in " + strings.Join(aws, ", ") + " only"
	}
	return ""
}

func anyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	parent, below := strings.CutSuffix(pattern, "...")
	return name == strings.TrimSuffix(parent, "/") || below && strings.HasPrefix(name, parent)
}

func TestArrows(t *testing.T) {
	const root = "../../.."
	openFolders(t, root)
	cmd := exec.Command("go", "list", "-deps", "-f",
		`{{with .Module}}{{if .Main}}{{$.ImportPath}} {{join $.Imports " "}}{{end}}{{end}}`, "./...")
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	imports := graph(string(out))
	if len(imports[module+"/cmd/ephemera"]) == 0 {
		t.Fatalf("go list does not show the program:\n%s", out)
	}
	for _, line := range wrong(imports) {
		t.Error(line)
	}
}

// openFolders opens the module's folders. The test cache looks at what the
// test opens, not at what go list does: without this, a wrong arrow drawn
// after the test passed once would not be seen.
func openFolders(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// graph reads lines of a package followed by its imports.
func graph(lines string) map[string][]string {
	imports := map[string][]string{}
	for line := range strings.Lines(lines) {
		if names := strings.Fields(line); len(names) > 0 {
			imports[names[0]] = names[1:]
		}
	}
	return imports
}

func TestWrong(t *testing.T) {
	for _, test := range []struct {
		imports string
		wrong   bool
	}{
		{"ephemera/ingest/flow fmt net/netip", false},
		{"ephemera/ingest/flow ephemera/rules", true},
		{"ephemera/ingest/flow ephemera/ingest", true},
		{"ephemera/ingest/flow golang.org/x/sync/errgroup", true},
		{"ephemera/ingest/flow github.com/aws/aws-sdk-go-v2/aws", true},

		{"ephemera/ingest io ephemera/ingest/flow github.com/klauspost/compress/gzip", false},
		{"ephemera/ingest ephemera/rules", true},
		{"ephemera/ingest ephemera/analyze", true},
		{"ephemera/ingest ephemera/cmd/internal/cli", true},
		{"ephemera/ingest github.com/aws/aws-sdk-go-v2/service/s3", true},
		{"ephemera/ingest/bucket ephemera/ingest github.com/aws/aws-sdk-go-v2/service/s3", false},
		{"ephemera/ingest/loggroup ephemera/ingest/flow github.com/aws/aws-sdk-go-v2/aws", false},
		{"ephemera/ingest/bucket ephemera/rules", true},
		{"ephemera/ingest/traffic ephemera/ingest/flow github.com/parquet-go/parquet-go", false},
		{"ephemera/ingest/traffic ephemera/ingest", true},
		{"ephemera/ingest/sourcetest github.com/aws/aws-sdk-go-v2/aws", true},

		{"ephemera/rules ephemera/ingest/flow", false},
		{"ephemera/rules ephemera/ingest", true},
		{"ephemera/rules ephemera/analyze", true},
		{"ephemera/rules ephemera/rules/deployed", true},
		{"ephemera/rules github.com/aws/aws-sdk-go-v2/service/ec2", true},
		{"ephemera/rules/deployed ephemera/rules github.com/aws/aws-sdk-go-v2/service/ec2", false},
		{"ephemera/rules/tf ephemera/rules ephemera/ingest/flow", false},
		{"ephemera/rules/tf ephemera/analyze", true},
		{"ephemera/rules/cfn github.com/aws/aws-sdk-go-v2/aws", true},

		{"ephemera/analyze ephemera/rules ephemera/ingest/flow", false},
		{"ephemera/analyze ephemera/ingest", true},
		{"ephemera/analyze ephemera/ingest/bucket", true},
		{"ephemera/analyze ephemera/rules/deployed", true},
		{"ephemera/analyze ephemera/analyze/report", true},
		{"ephemera/analyze ephemera/cmd/internal/cli", true},
		{"ephemera/analyze github.com/aws/aws-lambda-go/events", true},
		{"ephemera/analyze/report ephemera/analyze ephemera/rules ephemera/ingest/flow", false},
		{"ephemera/analyze/report ephemera/ingest", true},
		{"ephemera/analyze/report ephemera/rules/tf", true},
		{"ephemera/analyze/report github.com/aws/aws-sdk-go-v2/aws", true},

		{"ephemera/analyze/simulate ephemera/ingest/flow", false},
		{"ephemera/analyze/simulate ephemera/analyze", true},
		{"ephemera/analyze/accuracy ephemera/analyze ephemera/analyze/simulate ephemera/ingest/flow", false},
		{"ephemera/analyze/accuracy ephemera/ingest", true},

		{"ephemera/cmd/internal/cli ephemera/ingest/bucket ephemera/analyze/report ephemera/rules/tf", false},
		{"ephemera/cmd/ephemera ephemera/cmd/internal/cli github.com/aws/aws-sdk-go-v2/config", false},
		{"ephemera/utils fmt", true},
		{"ephemera/rulesets fmt", true},
	} {
		if got := wrong(graph(test.imports)); (len(got) > 0) != test.wrong {
			t.Errorf("%s: got %q, want wrong to be %t", test.imports, got, test.wrong)
		}
	}
}
