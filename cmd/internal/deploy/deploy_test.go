package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"ephemera/cmd/internal/function"
)

// deployments are what is deployed, by what is asked for.
var deployments = []struct {
	name       string
	parameters map[string]string // of the template
}{
	{"the least", map[string]string{"LogBucket": "logs"}},
	{"everything", map[string]string{
		"LogBucket": "logs", "LogPrefix": "flow/AWSLogs/", "LogKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/1234abcd", "LogGroup": "/vpc/flow",
		"Format": "${srcaddr} ${dstaddr}", "ResultBucket": "results", "NetworkPrefix": "network/", "Schedule": "rate(1 hour)", "Days": "3",
		"ControlPorts": "21,2121", "PassiveRanges": "203.0.113.10=50000-50099", "AlertEmail": "net@example.com", "OverdueAfter": "7200",
		"DigestConcurrency": "4", "KeepDigests": "20", "KeepReports": "10", "KeepFunctionLogs": "7", "LogLevel": "debug", "Architecture": "x86_64",
	}},
	{"a log group", map[string]string{"LogBucket": "logs", "LogGroup": "flow", "NetworkPrefix": "rules/now/"}},
}

// code says where the code is, which is all that the two ask differently.
var code = map[string]string{"CodeBucket": "code", "CodeKey": "lambda.zip"}

// deployed evaluates the template and the module for the same parameters.
func deployed(t *testing.T, parameters map[string]string) (*template, *module) {
	t.Helper()
	variables := map[string]string{"name": name, "zip": "lambda.zip"}
	for p, v := range parameters {
		variables[snake(p)] = v
	}
	all := maps.Clone(code)
	maps.Copy(all, parameters)
	return readTemplate(t, all), readModule(t, variables)
}

// The template and the module make the same things: every property that either
// of them sets is the same in the other one.
func TestSame(t *testing.T) {
	for _, d := range deployments {
		t.Run(d.name, func(t *testing.T) {
			tmpl, mod := deployed(t, d.parameters)
			compare(t, factsOf(tmpl.made()), factsOf(mod.made()))
			compare(t, tmpl.outputs(), mod.outputs())
		})
	}
}

func compare(t *testing.T, template, module map[string]string) {
	t.Helper()
	if len(template) == 0 || len(module) == 0 {
		t.Fatalf("%d facts of the template, %d of the module", len(template), len(module))
	}
	keys := slices.AppendSeq(slices.Collect(maps.Keys(template)), maps.Keys(module))
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		inTemplate, ok1 := template[k]
		inModule, ok2 := module[k]
		if inTemplate != inModule || ok1 != ok2 {
			t.Errorf("%s:\n  template %s\n  module   %s", k, inTemplate, inModule)
		}
	}
}

// The module's variables are the template's parameters, with the same defaults
// and the same descriptions.
func TestSameParameters(t *testing.T) {
	tmpl, mod := deployed(t, deployments[0].parameters)
	parameters, variables := map[string]string{}, map[string]string{}
	for id, p := range tmpl.Parameters {
		if _, ok := code[id]; ok {
			continue
		}
		parameters[snake(id)] = p.Description
		if p.Default != nil {
			parameters[snake(id)] += " Default: " + *p.Default
		}
	}
	for id, v := range mod.variables {
		if id == "name" || id == "zip" {
			continue
		}
		variables[id] = v.description
		if v.value != cty.NilVal {
			variables[id] += " Default: " + text(v.value)
		}
	}
	compare(t, parameters, variables)
}

// A statement is one of a policy.
type statement struct {
	Effect           string
	Action, Resource any // a string, or several
}

func several(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var all []string
	for _, e := range v.([]any) {
		all = append(all, e.(string))
	}
	return all
}

// What is allowed is named: no action has a wildcard, and a resource has one
// only behind the name of a bucket or log group.
func TestLeastPrivilege(t *testing.T) {
	named := regexp.MustCompile(`^(arn:aws:s3:::[a-z.-]+(/[A-Za-z/]+/\*)?|arn:[a-z_]+(:\*)?|arn:aws:kms:[^*]+)$`)
	statements := 0
	for _, d := range deployments {
		tmpl, _ := deployed(t, d.parameters)
		for key, fact := range factsOf(tmpl.made()) {
			var s statement
			if !strings.Contains(key, "policy_document.") || json.Unmarshal([]byte(fact), &s) != nil || s.Effect != "Allow" {
				continue
			}
			statements++
			for _, a := range several(s.Action) {
				if strings.Contains(a, "*") {
					t.Errorf("%s: %s allows %s", d.name, key, a)
				}
			}
			if strings.Contains(key, "assume_role") {
				continue // the role itself is the resource
			}
			for _, r := range several(s.Resource) {
				if !named.MatchString(r) {
					t.Errorf("%s: %s allows something on %s", d.name, key, r)
				}
			}
		}
	}
	if statements < 40 {
		t.Errorf("only %d statements were found", statements)
	}
}

// What AWS demands or advises, and what the parts expect of each other.
func TestFit(t *testing.T) {
	for _, d := range deployments {
		tmpl, _ := deployed(t, d.parameters)
		f := factsOf(tmpl.made())
		number := func(key string) int {
			n, err := strconv.Atoi(f[key])
			if err != nil {
				t.Errorf("%s: %s is %q", d.name, key, f[key])
			}
			return n
		}
		for _, row := range []struct {
			what string
			ok   bool
		}{
			{"visibility timeout at least six times the time-out", number("notices.visibility_timeout") >= 6*number("digest.timeout")},
			{"dead letters stay longer than notices", number("dead_letters.message_retention_period") > number("notices.message_retention_period")},
			{"Lambda's longest time-out", number("report.timeout") <= 900},
			{"digests are kept for longer than the report covers", number("report.environment.variables.EPHEMERA_DAYS")+1 < keptDigests(f, d.parameters)},
			{"one report at a time", f["report.reserved_concurrent_executions"] == "1"},
			{"partial batch response", f["digest_notices.function_response_types"] == "ReportBatchItemFailures"},
			{"the digest function's log group", f["digest.logging_config.log_group"] == "digest_logs.name"},
			{"the report function's log group", f["report.logging_config.log_group"] == "report_logs.name"},
		} {
			if !row.ok {
				t.Errorf("%s: not so: %s", d.name, row.what)
			}
		}
		for key := range f {
			alarm, ok := strings.CutSuffix(key, ".alarm_name")
			if ok && f[alarm+".alarm_actions"] != "arn:alerts" {
				t.Errorf("%s: %s tells nobody", d.name, alarm)
			}
		}
	}
}

// keptDigests is for how many days digests are kept. A bucket that was there
// before has its own rules.
func keptDigests(f facts, parameters map[string]string) int {
	if parameters["ResultBucket"] != "" {
		return 1 << 20
	}
	n, err := strconv.Atoi(f["results.lifecycle_configuration.rules.0.expiration_in_days"])
	if err != nil {
		return 0
	}
	return n
}

// unset are the function's variables that a deployment does not set, since that
// function has no use for them.
var unset = map[string][]string{
	"digest": {"EPHEMERA_NETWORK", "EPHEMERA_CONTROL_PORTS", "EPHEMERA_PASSIVE_RANGES", "EPHEMERA_DAYS", "EPHEMERA_ALERTS"},
	"report": {"EPHEMERA_SOURCES", "EPHEMERA_FORMAT", "EPHEMERA_DEAD_LETTERS"},
}

// environment is that of a function.
func environment(f facts, function string) map[string]string {
	variables := map[string]string{}
	for key, value := range f {
		if v, ok := strings.CutPrefix(key, function+".environment.variables."); ok {
			variables[v] = value
		}
	}
	return variables
}

// Every variable that the function reads is set, or known not to be; none is
// set that it does not read.
func TestVariables(t *testing.T) {
	source, err := os.ReadFile("../function/settings.go")
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	for _, v := range regexp.MustCompile(`"(EPHEMERA_[A-Z_]+)"`).FindAllSubmatch(source, -1) {
		read[string(v[1])] = true
	}
	if !read["EPHEMERA_DIGESTS"] {
		t.Fatalf("the function reads %v", read)
	}
	for _, d := range deployments {
		tmpl, _ := deployed(t, d.parameters)
		for function, without := range unset {
			set := environment(factsOf(tmpl.made()), function)
			for v := range read {
				if _, ok := set[v]; ok == slices.Contains(without, v) {
					t.Errorf("%s: %s has %s set: %v", d.name, function, v, ok)
				}
			}
			for v := range set {
				if !read[v] {
					t.Errorf("%s: %s sets %s, which the function does not read", d.name, function, v)
				}
			}
		}
	}
}

// The function understands what the template sets, as it was meant.
func TestSettings(t *testing.T) {
	for _, d := range deployments {
		tmpl, _ := deployed(t, d.parameters)
		f := factsOf(tmpl.made())
		for id := range unset {
			variables := environment(f, id)
			variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] = f[id+".memory_size"]
			s, err := function.ParseSettings(func(name string) string { return variables[name] })
			if err != nil {
				t.Errorf("%s: %s: %v", d.name, id, err)
				continue
			}
			if !allowed(f, id, s.Digests) || id == "report" && !allowed(f, id, s.Reports) {
				t.Errorf("%s: %s: its role does not reach %s, %s", d.name, id, s.Digests, s.Reports)
			}
			for _, place := range append(s.Sources, s.Network) {
				if place != "" && !allowed(f, id, place) {
					t.Errorf("%s: %s: its role does not reach %s", d.name, id, place)
				}
			}
			if id == "report" && s.Days != 7 && strconv.Itoa(s.Days) != d.parameters["Days"] {
				t.Errorf("%s: the report covers %d days", d.name, s.Days)
			}
		}
	}
}

// allowed reports whether a function's role may read what is at a place.
func allowed(f facts, function, place string) bool {
	objects := "arn:aws:s3:::" + strings.TrimPrefix(place, "s3://") + "*"
	for key, fact := range f {
		var s statement
		if strings.HasPrefix(key, function+"_role.policies.policy_document.") && json.Unmarshal([]byte(fact), &s) == nil &&
			slices.Contains(several(s.Action), "s3:GetObject") && slices.Contains(several(s.Resource), objects) {
			return true
		}
	}
	return false
}

// What can be set, and what alarms, is in docs/lambda.md by its name.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/lambda.md")
	if err != nil {
		t.Fatal(err)
	}
	tmpl, _ := deployed(t, deployments[1].parameters)
	f := factsOf(tmpl.made())
	names := slices.Collect(maps.Keys(tmpl.Parameters))
	for id := range unset {
		names = slices.AppendSeq(names, maps.Keys(environment(f, id)))
	}
	for key, value := range f {
		if strings.HasSuffix(key, ".alarm_name") {
			names = append(names, value)
		}
	}
	for _, n := range names {
		if !strings.Contains(string(text), "`"+n+"`") {
			t.Errorf("docs/lambda.md does not explain %s", n)
		}
	}
}

// terraform fmt would change nothing. It is not needed for that: this is the
// same formatter.
func TestModuleIsFormatted(t *testing.T) {
	for _, path := range moduleFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(hclwrite.Format(text)) != string(text) {
			t.Errorf("%s is not formatted; run terraform fmt", path)
		}
	}
}
