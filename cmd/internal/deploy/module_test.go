package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

const moduleDir = "../../ephemera-lambda/terraform"

// A module is the Terraform module with its variables set.
type module struct {
	variables map[string]variable
	locals    map[string]hcl.Expression
	resources map[string]*hclsyntax.Block // by TYPE.NAME
	results   map[string]hcl.Expression   // its outputs
	set       map[string]cty.Value        // the variables
}

type variable struct {
	description string
	value       cty.Value // the default; cty.NilVal if there is none
	kind        cty.Type
	validations []hcl.Expression
}

// moduleFiles are the module's files.
func moduleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(moduleDir + "/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no files: %v", moduleDir, err)
	}
	return files
}

// readModule reads the module, and gives its variables the values of set, or
// else their defaults.
func readModule(t *testing.T, set map[string]string) *module {
	t.Helper()
	m := &module{
		variables: map[string]variable{}, locals: map[string]hcl.Expression{}, resources: map[string]*hclsyntax.Block{},
		results: map[string]hcl.Expression{}, set: map[string]cty.Value{},
	}
	for _, path := range moduleFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, diags := hclsyntax.ParseConfig(text, path, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			m.take(b)
		}
	}
	for name := range set {
		if _, ok := m.variables[name]; !ok {
			t.Fatalf("the module has no variable %s", name)
		}
	}
	for name, v := range m.variables {
		value := v.value
		if s, ok := set[name]; ok {
			var err error
			if value, err = convert.Convert(cty.StringVal(s), v.kind); err != nil {
				t.Fatalf("variable %s: %v", name, err)
			}
		}
		if value == cty.NilVal {
			t.Fatalf("variable %s has no default", name)
		}
		m.set[name] = value
	}
	for name, v := range m.variables {
		for _, condition := range v.validations {
			if m.value(condition).False() {
				t.Fatalf("variable %s does not take %#v", name, m.set[name])
			}
		}
	}
	return m
}

func (m *module) take(b *hclsyntax.Block) {
	attributes := b.Body.Attributes
	switch b.Type {
	case "variable":
		v := variable{description: text(m.value(attributes["description"].Expr)), kind: cty.String}
		if attributes["type"].Expr.Variables()[0].RootName() == "number" {
			v.kind = cty.Number
		}
		if d, ok := attributes["default"]; ok {
			v.value = m.value(d.Expr)
		}
		for _, validation := range b.Body.Blocks {
			v.validations = append(v.validations, validation.Body.Attributes["condition"].Expr)
		}
		m.variables[b.Labels[0]] = v
	case "locals":
		for name, a := range attributes {
			m.locals[name] = a.Expr
		}
	case "resource":
		m.resources[b.Labels[0]+"."+b.Labels[1]] = b
	case "output":
		m.results[b.Labels[0]] = attributes["value"].Expr
	case "data", "terraform":
	default:
		panic("block " + b.Type + " is not understood")
	}
}

// data are the data sources.
var data = cty.ObjectVal(map[string]cty.Value{
	"aws_partition":       current(map[string]string{"partition": partition, "dns_suffix": urlSuffix}),
	"aws_region":          current(map[string]string{"region": region}),
	"aws_caller_identity": current(map[string]string{"account_id": account}),
})

func current(attributes map[string]string) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{"current": object(attributes)})
}

func object(attributes map[string]string) cty.Value {
	values := map[string]cty.Value{}
	for name, v := range attributes {
		values[name] = cty.StringVal(v)
	}
	return cty.ObjectVal(values)
}

// functions are those of Terraform's that the module uses. A file's checksum is
// empty, since there is no file.
var functions = map[string]function.Function{
	"can": tryfunc.CanFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"jsonencode": stdlib.JSONEncodeFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc,
	"filebase64sha256": function.New(&function.Spec{
		Params: []function.Parameter{{Type: cty.String}}, Type: function.StaticReturnType(cty.String),
		Impl: func([]cty.Value, cty.Type) (cty.Value, error) { return cty.StringVal(""), nil },
	}),
	"one": function.New(&function.Spec{
		Params: []function.Parameter{{Type: cty.DynamicPseudoType}}, Type: function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for _, v := range args[0].AsValueSlice() {
				return v, nil
			}
			return cty.NullVal(cty.String), nil
		},
	}),
}

// value evaluates an expression. What it does not know is a panic, which ends
// the test.
func (m *module) value(e hcl.Expression) cty.Value {
	v, diags := e.Value(&hcl.EvalContext{Variables: m.names(e), Functions: functions})
	if diags.HasErrors() {
		panic(diags.Error())
	}
	return v
}

// names are the values of the names that an expression uses.
func (m *module) names(e hcl.Expression) map[string]cty.Value {
	names, locals, resources := map[string]cty.Value{}, map[string]cty.Value{}, map[string]map[string]cty.Value{}
	for _, t := range e.Variables() {
		second := t[1].(hcl.TraverseAttr).Name
		switch root := t.RootName(); root {
		case "var":
			names["var"] = cty.ObjectVal(m.set)
		case "data":
			names["data"] = data
		case "local":
			local, ok := m.locals[second]
			if !ok {
				panic("there is no local." + second)
			}
			locals[second] = m.value(local)
			names["local"] = cty.ObjectVal(locals)
		default:
			if resources[root] == nil {
				resources[root] = map[string]cty.Value{}
			}
			resources[root][second] = m.resource(root, second)
			names[root] = cty.ObjectVal(resources[root])
		}
	}
	return names
}

// resource is what a reference to a resource stands for: its attributes, or a
// list of them if it has a count.
func (m *module) resource(kind, name string) cty.Value {
	b, ok := m.resources[kind+"."+name]
	if !ok {
		panic("there is no " + kind + "." + name)
	}
	attributes := map[string]string{}
	for _, a := range []string{"arn", "url", "name", "bucket", "function_name"} {
		attributes[a] = reference(name, a)
	}
	switch n, counted := m.count(b); {
	case !counted:
		return object(attributes)
	case n == 0:
		return cty.EmptyTupleVal
	}
	return cty.TupleVal([]cty.Value{object(attributes)})
}

func (m *module) count(b *hclsyntax.Block) (n int, counted bool) {
	a, ok := b.Body.Attributes["count"]
	if !ok {
		return 1, false
	}
	v := m.value(a.Expr)
	return v.AsBigFloat().Sign(), true // it is 0 or 1
}

// made returns the arguments of all resources that are made, by type and name.
func (m *module) made() []resource {
	var all []resource
	for _, b := range m.resources {
		if n, _ := m.count(b); n > 0 {
			all = append(all, resource{b.Labels[0], b.Labels[1], m.body(b.Body)})
		}
	}
	return all
}

// body evaluates a block's arguments and the blocks in it, those of one type as
// a list.
func (m *module) body(b *hclsyntax.Body) map[string]any {
	values := map[string]any{}
	for name, a := range b.Attributes {
		if name != "count" && name != "depends_on" {
			values[name] = plain(m.value(a.Expr))
		}
	}
	for _, inner := range b.Blocks {
		list, _ := values[inner.Type].([]any)
		values[inner.Type] = append(list, m.body(inner.Body))
	}
	return values
}

// plain makes a string, []any or map[string]any of a value.
func plain(v cty.Value) any {
	switch {
	case v.Type().IsTupleType() || v.Type().IsListType():
		list := []any{}
		for _, e := range v.AsValueSlice() {
			list = append(list, plain(e))
		}
		return list
	case v.Type().IsObjectType() || v.Type().IsMapType():
		values := map[string]any{}
		for name, e := range v.AsValueMap() {
			values[name] = plain(e)
		}
		return values
	}
	return text(v)
}

// text is a string, number or bool as a string.
func text(v cty.Value) string {
	s, err := convert.Convert(v, cty.String)
	if err != nil {
		panic(err)
	}
	return s.AsString()
}

// outputs evaluates the outputs that are not null.
func (m *module) outputs() map[string]string {
	all := map[string]string{}
	for name, e := range m.results {
		if v := m.value(e); !v.IsNull() {
			all[name] = text(v)
		}
	}
	return all
}
