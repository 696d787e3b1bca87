// Package delta makes the JSON patch that turns an object as it was received into what a decision
// made of it, without touching a field that our Go types do not know.
//
// The API server may be newer than we are. A pod decoded into corev1.Pod has lost the fields that
// this version of the type lacks, so neither the encoded pod nor a plain diff of two encodings may be
// sent back: a plain diff compares lists by index, and inserting a sidecar in front would rewrite the
// user's first container into the sidecar and hand its unknown fields to the wrong one.
//
// Here both values are walked by their types. A list whose elements have a merge key in the
// Kubernetes API (containers, volumes, mounts, env, …) is changed element by element: changes go into
// the element where it stands, new elements are inserted, moved ones are moved. In lists without a
// key only what differs is replaced. What the walk does not visit, it does not touch.
//
// Input: two values of one type, the first decoded from the received JSON. Output: RFC 6902
// operations on that JSON.
package delta

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Operation is one operation of a JSON patch (RFC 6902).
type Operation struct {
	Op    string
	Path  string
	From  string // of a move
	Value any    // of an add or a replace
}

// MarshalJSON writes the members that the operation has, a null value included.
func (o Operation) MarshalJSON() ([]byte, error) {
	members := map[string]any{"op": o.Op, "path": o.Path}
	switch o.Op {
	case "move":
		members["from"] = o.From
	case "add", "replace":
		members["value"] = o.Value
	}
	return json.Marshal(members)
}

// Differ makes patches. It keeps what it learned of the types it has met and is safe for concurrent
// use; the zero value is ready.
type Differ struct{ types sync.Map }

// Between returns the operations that turn before into after, none if they are equal. Both are
// pointers to structs of one type; received is the JSON that before was decoded from. The error is
// that of decoding received.
func (d *Differ) Between(received []byte, before, after any) ([]Operation, error) {
	w := walker{differ: d, received: received}
	w.structs(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), &place{})
	return w.ops, w.err
}

type walker struct {
	differ   *Differ
	received []byte
	document any // received, decoded when it is first needed
	err      error
	ops      []Operation
}

// place is where a value stands, as a chain of steps: most places are never written out. Behind
// inserted and moved list elements, the index in the document as patched so far differs from the
// index in the document received.
type place struct {
	parent    *place
	name      string // of a member; empty for a list element
	now, then int
}

func (p *place) member(name string) *place { return &place{parent: p, name: name} }

func (p *place) element(now, then int) *place { return &place{parent: p, now: now, then: then} }

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1") // RFC 6901

// path is the place as a JSON pointer into the document as patched so far.
func (p *place) path() string {
	switch {
	case p.parent == nil:
		return ""
	case p.name != "":
		return p.parent.path() + "/" + pointerEscaper.Replace(p.name)
	default:
		return p.parent.path() + "/" + strconv.Itoa(p.now)
	}
}

// in returns what stands at the place in the document received, or nil.
func (p *place) in(document any) any {
	if p.parent == nil {
		return document
	}
	switch v := p.parent.in(document).(type) {
	case map[string]any:
		return v[p.name]
	case []any:
		if p.then < len(v) {
			return v[p.then]
		}
	}
	return nil
}

func (w *walker) add(p *place, v reflect.Value) {
	w.ops = append(w.ops, Operation{Op: "add", Path: p.path(), Value: v.Interface()})
}

func (w *walker) replace(p *place, v reflect.Value) {
	w.ops = append(w.ops, Operation{Op: "replace", Path: p.path(), Value: v.Interface()})
}

func (w *walker) remove(p *place) { w.ops = append(w.ops, Operation{Op: "remove", Path: p.path()}) }

// value compares two values of one type. key is the merge key if they are lists. Structs, pointers
// and lists are entered rather than compared first: comparing at every level would cost the depth
// times the size.
func (w *walker) value(before, after reflect.Value, at *place, key string) {
	switch kind := before.Kind(); {
	case kind != reflect.Struct && isEmpty(before) && isEmpty(after):
	case kind == reflect.Struct && !w.isLeaf(before.Type()):
		w.structs(before, after, at)
	case isEmpty(before):
		w.add(at, after)
	case isEmpty(after):
		w.remove(at)
	case kind == reflect.Pointer:
		w.pointer(before, after, at)
	case kind == reflect.Map:
		w.entries(before, after, at)
	case kind == reflect.Slice && !w.isLeaf(before.Type()):
		w.list(before, after, at, key)
	case !same(before, after):
		w.leaf(before, after, at)
	}
}

// structs enters a struct. One that is zero may be missing from the JSON: then there is nothing to
// put its fields into.
func (w *walker) structs(before, after reflect.Value, at *place) {
	if !before.IsZero() {
		w.fields(before, after, at)
		return
	}
	switch {
	case after.IsZero():
	case w.exists(at):
		w.fields(before, after, at)
	default:
		w.add(at, after)
	}
}

// pointer enters structs; what else a pointer leads to is set as a whole, zero values included.
func (w *walker) pointer(before, after reflect.Value, at *place) {
	switch {
	case before.Pointer() == after.Pointer():
	case before.Elem().Kind() == reflect.Struct && !w.isLeaf(before.Elem().Type()):
		w.fields(before.Elem(), after.Elem(), at)
	case !same(before, after):
		w.replace(at, after)
	}
}

// leaf sets or removes a value as a whole. A zero value is not in the JSON (omitempty), so it is
// added rather than replaced; add also replaces what is there.
func (w *walker) leaf(before, after reflect.Value, at *place) {
	switch {
	case after.IsZero():
		w.remove(at)
	case before.IsZero():
		w.add(at, after)
	default:
		w.replace(at, after)
	}
}

// fields compares two structs field by field.
func (w *walker) fields(before, after reflect.Value, at *place) {
	for _, f := range w.differ.typeOf(before.Type()).fields {
		inner := at
		if f.name != "" {
			inner = at.member(f.name)
		}
		w.value(before.Field(f.index), after.Field(f.index), inner, f.mergeKey)
	}
}

// entries compares two maps key by key.
func (w *walker) entries(before, after reflect.Value, at *place) {
	for _, k := range sortedKeys(before) {
		if !after.MapIndex(k).IsValid() {
			w.remove(at.member(k.String()))
		}
	}
	for _, k := range sortedKeys(after) {
		switch old, now := before.MapIndex(k), after.MapIndex(k); {
		case !old.IsValid():
			w.add(at.member(k.String()), now)
		case !same(old, now):
			w.replace(at.member(k.String()), now)
		}
	}
}

func (w *walker) list(before, after reflect.Value, at *place, key string) {
	if old, ok := keysOf(before, key); ok {
		if now, ok := keysOf(after, key); ok {
			w.keyed(before, after, old, now, at)
			return
		}
	}
	w.plain(before, after, at)
}

// keyed edits a list in place. Operations run from front to back: when position i is being settled
// everything before it is final, so its index holds for the operations inside it.
func (w *walker) keyed(before, after reflect.Value, old, now []string, at *place) {
	origin := make(map[string]int, len(old))
	for i, k := range old {
		origin[k] = i
	}
	current := slices.DeleteFunc(slices.Clone(old), func(k string) bool { return !slices.Contains(now, k) })
	for i, k := range slices.Backward(old) {
		if !slices.Contains(now, k) {
			w.remove(at.element(i, i))
		}
	}
	for i, k := range now {
		from, existed := origin[k]
		if !existed {
			w.add(at.element(i, i), after.Index(i))
			current = slices.Insert(current, i, k)
			continue
		}
		if j := slices.Index(current, k); j != i {
			w.ops = append(w.ops, Operation{Op: "move", From: at.element(j, j).path(), Path: at.element(i, i).path()})
			current = slices.Insert(slices.Delete(current, j, j+1), i, k)
		}
		w.value(before.Index(from), after.Index(i), at.element(i, from), "")
	}
}

// plain edits a list without keys: what is equal in front and behind stays, the rest is replaced
// element by element, and what is over is added or removed. Node selector terms are entered, because
// placement adds to them.
func (w *walker) plain(before, after reflect.Value, at *place) {
	front, shorter := 0, min(before.Len(), after.Len())
	for front < shorter && same(before.Index(front), after.Index(front)) {
		front++
	}
	back := 0
	for back < shorter-front && same(before.Index(before.Len()-1-back), after.Index(after.Len()-1-back)) {
		back++
	}
	old, now := before.Len()-back, after.Len()-back
	enter := before.Type().Elem() == reflect.TypeFor[corev1.NodeSelectorTerm]()
	for i := front; i < min(old, now); i++ {
		switch {
		case enter:
			w.value(before.Index(i), after.Index(i), at.element(i, i), "")
		case !same(before.Index(i), after.Index(i)):
			w.replace(at.element(i, i), after.Index(i))
		}
	}
	for i := old - 1; i >= max(front, now); i-- {
		w.remove(at.element(i, i))
	}
	for i := max(front, old); i < now; i++ {
		w.add(at.element(i, i), after.Index(i))
	}
}

// exists reports whether the received document has an object at a place.
func (w *walker) exists(at *place) bool {
	if w.document == nil && w.err == nil {
		if w.err = json.Unmarshal(w.received, &w.document); w.err != nil {
			w.err = fmt.Errorf("decode the received object: %w", w.err)
		}
	}
	_, isObject := at.in(w.document).(map[string]any)
	return isObject
}

func same(a, b reflect.Value) bool {
	switch a.Kind() { //nolint:exhaustive // the common scalars, without boxing them
	case reflect.String:
		return a.String() == b.String()
	case reflect.Bool:
		return a.Bool() == b.Bool()
	case reflect.Int32, reflect.Int64:
		return a.Int() == b.Int()
	}
	return equality.Semantic.DeepEqual(a.Interface(), b.Interface())
}

// keysOf returns the merge keys of a list's elements, and false when the list has none, or when
// they do not tell the elements apart (two ports of one number).
func keysOf(list reflect.Value, key string) ([]string, bool) {
	if key == "" || list.Type().Elem().Kind() != reflect.Struct {
		return nil, false
	}
	at := keyField(list.Type().Elem(), key)
	if at == nil {
		return nil, false
	}
	keys := make([]string, list.Len())
	seen := make(map[string]bool, list.Len())
	for i := range keys {
		keys[i] = fmt.Sprint(list.Index(i).FieldByIndex(at).Interface())
		if seen[keys[i]] {
			return nil, false
		}
		seen[keys[i]] = true
	}
	return keys, true
}

// keyField finds the field of a merge key, also in an inlined struct. It returns nil if there is none.
func keyField(t reflect.Type, key string) []int {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == key {
			return f.Index
		}
		if name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct {
			if inner := keyField(f.Type, key); inner != nil {
				return append([]int{i}, inner...)
			}
		}
	}
	return nil
}

// typeInfo is what matters of a type.
type typeInfo struct {
	// leaf: the type writes its own JSON (times, quantities, int-or-string).
	leaf   bool
	fields []fieldInfo
}

type fieldInfo struct {
	index    int
	name     string // in JSON; empty for an inlined struct
	mergeKey string
}

func (d *Differ) typeOf(t reflect.Type) *typeInfo {
	if known, ok := d.types.Load(t); ok {
		return known.(*typeInfo) //nolint:forcetypeassert // the only type stored
	}
	marshaler := reflect.TypeFor[json.Marshaler]()
	info := &typeInfo{leaf: t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler)}
	if t.Kind() == reflect.Struct { // also of one that writes its own JSON: it may be the root
		for i := range t.NumField() {
			field := t.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "-" {
				info.fields = append(info.fields, fieldInfo{i, name, field.Tag.Get("patchMergeKey")})
			}
		}
	}
	d.types.Store(t, info)
	return info
}

func (w *walker) isLeaf(t reflect.Type) bool { return w.differ.typeOf(t).leaf }

func isEmpty(v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // the kinds that can be empty
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	case reflect.Pointer:
		return v.IsNil()
	default:
		return false
	}
}

func sortedKeys(m reflect.Value) []reflect.Value {
	return slices.SortedFunc(slices.Values(m.MapKeys()), func(a, b reflect.Value) int {
		return strings.Compare(a.String(), b.String())
	})
}
