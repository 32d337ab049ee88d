package deploy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const templateFile = "../../ephemera-lambda/template.yaml"

// A template is the SAM template with its parameters set.
type template struct {
	Parameters map[string]parameter `yaml:"Parameters"`
	Conditions map[string]yaml.Node `yaml:"Conditions"`
	Globals    struct {
		Function yaml.Node `yaml:"Function"`
	} `yaml:"Globals"`
	Resources map[string]struct {
		Type       string    `yaml:"Type"`
		Condition  string    `yaml:"Condition"`
		Properties yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
	Outputs map[string]struct {
		Description string    `yaml:"Description"`
		Condition   string    `yaml:"Condition"`
		Value       yaml.Node `yaml:"Value"`
	} `yaml:"Outputs"`

	set map[string]string // the parameters
}

type parameter struct {
	Description    string  `yaml:"Description"`
	Default        *string `yaml:"Default"`
	AllowedPattern string  `yaml:"AllowedPattern"`
}

// readTemplate reads the template, and gives its parameters the values of set,
// or else their defaults.
func readTemplate(t *testing.T, set map[string]string) *template {
	t.Helper()
	text, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &template{set: map[string]string{}}
	if err := yaml.Unmarshal(text, tmpl); err != nil {
		t.Fatal(err)
	}
	for name := range set {
		if _, ok := tmpl.Parameters[name]; !ok {
			t.Fatalf("the template has no parameter %s", name)
		}
	}
	for name, p := range tmpl.Parameters {
		value, ok := set[name]
		if !ok {
			if p.Default == nil {
				t.Fatalf("parameter %s has no default", name)
			}
			value = *p.Default
		}
		if p.AllowedPattern != "" && !regexp.MustCompile("^(?:"+p.AllowedPattern+")$").MatchString(value) {
			t.Fatalf("parameter %s does not take %q", name, value)
		}
		tmpl.set[name] = value
	}
	return tmpl
}

// pseudo are the parameters that CloudFormation itself sets.
var pseudo = map[string]string{
	"AWS::Partition": partition, "AWS::URLSuffix": urlSuffix, "AWS::Region": region, "AWS::AccountId": account, "AWS::StackName": name,
}

// refs are the attributes that Ref stands for, by the type of the resource.
var refs = map[string]string{
	"AWS::S3::Bucket":           "bucket",
	"AWS::SQS::Queue":           "url",
	"AWS::SNS::Topic":           "arn",
	"AWS::Logs::LogGroup":       "name",
	"AWS::Serverless::Function": "function_name",
}

// An omitted value is what !Ref AWS::NoValue stands for.
type omitted struct{}

// value evaluates a node: to a string, []any, map[string]any or omitted. What
// it does not know is a panic, which ends the test.
func (t *template) value(n *yaml.Node) any {
	switch n.Tag {
	case "!Ref":
		return t.ref(n.Value)
	case "!GetAtt":
		return t.attribute(n.Value)
	case "!Sub":
		return t.sub(n)
	case "!If":
		if t.holds(n.Content[0].Value) {
			return t.value(n.Content[1])
		}
		return t.value(n.Content[2])
	}
	switch {
	case n.Kind == yaml.ScalarNode && strings.HasPrefix(n.Tag, "!!"):
		return n.Value
	case n.Kind == yaml.SequenceNode && n.Tag == "!!seq":
		list := []any{}
		for _, c := range n.Content {
			if v := t.value(c); v != (omitted{}) {
				list = append(list, v)
			}
		}
		return list
	case n.Kind == yaml.MappingNode && n.Tag == "!!map":
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			if v := t.value(n.Content[i+1]); v != (omitted{}) {
				m[n.Content[i].Value] = v
			}
		}
		return m
	}
	panic(fmt.Sprintf("line %d: %s is not understood", n.Line, n.Tag))
}

func (t *template) ref(name string) any {
	if name == "AWS::NoValue" {
		return omitted{}
	}
	if v, ok := pseudo[name]; ok {
		return v
	}
	if v, ok := t.set[name]; ok {
		return v
	}
	attribute, ok := refs[t.Resources[name].Type]
	if !ok {
		panic("!Ref " + name + " is not understood")
	}
	return reference(snake(name), attribute)
}

// attribute evaluates RESOURCE.ATTRIBUTE.
func (t *template) attribute(of string) string {
	resource, attribute, _ := strings.Cut(of, ".")
	switch r, ok := t.Resources[resource]; {
	case !ok:
		panic("!GetAtt " + of + ": there is no such resource")
	case attribute == "QueueName":
		return reference(snake(resource), "name")
	case attribute == "Arn" && r.Type == "AWS::Logs::LogGroup": // CloudFormation ends it with :*, other than Terraform
		return reference(snake(resource), "arn") + ":*"
	case attribute == "Arn":
		return reference(snake(resource), "arn")
	}
	panic("!GetAtt " + of + " is not understood")
}

var placeholder = regexp.MustCompile(`\$\{[^}]*\}`)

// sub evaluates !Sub TEXT and !Sub [TEXT, NAMES].
func (t *template) sub(n *yaml.Node) string {
	text, names := n.Value, map[string]any{}
	if n.Kind == yaml.SequenceNode {
		text, names = n.Content[0].Value, t.value(n.Content[1]).(map[string]any)
	}
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		name := p[2 : len(p)-1]
		if v, ok := names[name]; ok {
			return v.(string)
		}
		if strings.Contains(name, ".") {
			return t.attribute(name)
		}
		return t.ref(name).(string)
	})
}

// holds evaluates a condition; the empty one holds.
func (t *template) holds(condition string) bool {
	if condition == "" {
		return true
	}
	n, ok := t.Conditions[condition]
	if !ok {
		panic("there is no condition " + condition)
	}
	return t.isTrue(&n)
}

func (t *template) isTrue(n *yaml.Node) bool {
	switch n.Tag {
	case "!Equals":
		return t.value(n.Content[0]) == t.value(n.Content[1])
	case "!Not":
		return !t.isTrue(n.Content[0])
	}
	panic(fmt.Sprintf("line %d: condition %s is not understood", n.Line, n.Tag))
}

// made returns the properties of all resources that are made, by type and
// name. Of a function's events and EventInvokeConfig it makes the resources
// that SAM makes.
func (t *template) made() []resource {
	var all []resource
	for id, r := range t.Resources {
		if !t.holds(r.Condition) {
			continue
		}
		properties, _ := t.value(&r.Properties).(map[string]any)
		if r.Type != "AWS::Serverless::Function" {
			all = append(all, resource{r.Type, snake(id), properties})
			continue
		}
		for key, v := range t.value(&t.Globals.Function).(map[string]any) {
			if _, ok := properties[key]; ok {
				panic(id + " overrides Globals." + key)
			}
			properties[key] = v
		}
		all = append(all, serverless(id, properties)...)
	}
	return all
}

// serverless translates one function. The SAM translator gives the same names,
// in camel case.
func serverless(id string, properties map[string]any) []resource {
	function := reference(snake(id), "function_name")
	var all []resource
	add := func(kind, suffix string, properties map[string]any) {
		all = append(all, resource{kind, snake(id + suffix), properties})
	}
	if c, ok := properties["EventInvokeConfig"].(map[string]any); ok {
		c["FunctionName"], c["Qualifier"] = function, "$LATEST"
		add("AWS::Lambda::EventInvokeConfig", "EventInvokeConfig", c)
	}
	for event, v := range properties["Events"].(map[string]any) {
		e := v.(map[string]any)
		p := e["Properties"].(map[string]any)
		switch e["Type"] {
		case "SQS":
			p["FunctionName"] = function
			add("AWS::Lambda::EventSourceMapping", event, p)
		case "Schedule":
			rule := reference(snake(id+event), "arn")
			p["Targets"] = []any{map[string]any{"Arn": reference(snake(id), "arn")}}
			add("AWS::Events::Rule", event, p)
			add("AWS::Lambda::Permission", event+"Permission", map[string]any{
				"Action": "lambda:InvokeFunction", "FunctionName": function, "Principal": "events.amazonaws.com", "SourceArn": rule,
			})
		default:
			panic(fmt.Sprintf("event %s.%s of type %v is not understood", id, event, e["Type"]))
		}
	}
	delete(properties, "EventInvokeConfig")
	delete(properties, "Events")
	delete(properties, "CodeUri") // Terraform uploads the zip itself
	add("AWS::Lambda::Function", "", properties)
	return all
}

// outputs evaluates the outputs that there are.
func (t *template) outputs() map[string]string {
	all := map[string]string{}
	for id, o := range t.Outputs {
		if t.holds(o.Condition) {
			all[snake(id)] = t.value(&o.Value).(string)
		}
	}
	return all
}
