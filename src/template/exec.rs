//! The walk over a parsed template.

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, Number, PipeNode, RangeNode};

use super::value::Value;
use super::{Functions, Run, TemplateError, Templates, builtins};

/// Nested calls of templates; Go allows 100,000, which is a stack we do not have.
const CALL_DEPTH_MAX: usize = 100;

/// The arguments of a function or method, not yet evaluated.
struct Args<'a> {
    exprs: &'a [Expr],
    dot: &'a Value,
    /// What the pipeline brings as the last argument.
    piped: Option<Value>,
    line: usize,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Step<T> = Result<T, TemplateError>;

struct Exec<'a> {
    templates: &'a Templates,
    run: &'a Run<'a>,
    /// What actions print is escaped for HTML.
    is_page: bool,
    output: String,
    variables: Vec<(String, Value)>,
    steps: u64,
    depth: usize,
}

pub(super) fn execute(templates: &Templates, run: &Run<'_>, body: &ListNode, is_page: bool) -> Step<String> {
    let mut variables = vec![("$".to_owned(), run.data.clone())];
    variables.extend(run.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let mut exec = Exec { templates, run, is_page, output: String::new(), variables, steps: 0, depth: 0 };
    exec.list(body, &run.data)?;
    Ok(exec.output)
}

/// What an action prints into HTML: as it is where it was declared safe or is escaped already.
fn page_text(value: &Value, pipe: &PipeNode) -> String {
    let ends_escaped = pipe.commands.last().is_some_and(|command| {
        matches!(command.args.first(), Some(Expr::Identifier(_, name)) if name.as_str() == "html" || name.as_str() == "urlquery")
    });
    if ends_escaped || matches!(value, Value::Safe(_)) {
        return value.text();
    }
    gotmpl::html_escape(&value.text()).replace('+', "&#43;")
}

impl Exec<'_> {
    fn list(&mut self, list: &ListNode, dot: &Value) -> Step<Flow> {
        let scope = self.variables.len();
        let mut flow = Flow::Next;
        for node in &list.nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Step<Flow> {
        self.steps += 1;
        if self.steps > self.run.limits.steps_max {
            return Err(self.error(0, "step limit exceeded"));
        }
        match node {
            Node::List(list) => return self.list(list, dot),
            Node::Text(text) => self.print(&text.text, text.pos.line)?,
            Node::Action(action) => {
                let value = self.pipe(&action.pipe, dot)?;
                if action.pipe.decl.is_empty() {
                    let text = if self.is_page { page_text(&value, &action.pipe) } else { value.text() };
                    self.print(&text, action.pos.line)?;
                }
            }
            Node::If(branch) | Node::With(branch) => {
                let scope = self.variables.len();
                let value = self.pipe(&branch.pipe, dot)?;
                let inner = if matches!(node, Node::With(_)) { &value } else { dot };
                let flow = match (&branch.else_body, value.is_true()) {
                    (_, true) => self.list(&branch.body, inner)?,
                    (Some(body), false) => self.list(body, dot)?,
                    (None, false) => Flow::Next,
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range(range) => self.range(range, dot)?,
            Node::Template(call) => {
                let data = call.pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                self.call_template(&call.name, &data, call.pos.line)?;
            }
            Node::Define(_) => {}
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, range: &RangeNode, dot: &Value) -> Step<()> {
        let scope = self.variables.len();
        let value = self.commands(&range.pipe, dot)?;
        let items = value.items().map_err(|error| self.error(range.pos.line, &error))?;
        if items.is_empty() {
            if let Some(body) = &range.else_body {
                self.list(body, dot)?;
            }
            return Ok(());
        }
        for (key, item) in items {
            self.variables.truncate(scope);
            match range.pipe.decl.as_slice() {
                [] => {}
                [name] => self.bind(name, item.clone(), range.pipe.is_assign),
                [first, second, ..] => {
                    self.bind(first, key, range.pipe.is_assign);
                    self.bind(second, item.clone(), range.pipe.is_assign);
                }
            }
            if self.list(&range.body, &item)? == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn call_template(&mut self, name: &str, data: &Value, line: usize) -> Step<()> {
        let Some(body) = self.templates.named.get(name).cloned() else {
            return Err(self.error(line, &format!("template {name:?} not defined")));
        };
        if self.depth >= CALL_DEPTH_MAX {
            return Err(self.error(line, &format!("exceeded maximum template depth ({CALL_DEPTH_MAX})")));
        }
        // A template sees its own data as `$`, the text's variables, and none of its caller's.
        let own = 1 + self.run.variables.len();
        let hidden = self.variables.split_off(own);
        let outer = std::mem::replace(&mut self.variables[0].1, data.clone());
        self.depth += 1;
        let result = self.list(&body, data);
        self.depth -= 1;
        self.variables.truncate(own);
        self.variables[0].1 = outer;
        self.variables.extend(hidden);
        result.map(|_| ())
    }

    /// What a template prints, as a value: its name may be computed, which `template` does not allow.
    fn expand_named(&mut self, name: &str, data: &Value, line: usize) -> Step<Value> {
        let outer = std::mem::take(&mut self.output);
        let called = self.call_template(name, data, line);
        let text = std::mem::replace(&mut self.output, outer);
        called.map(|()| Value::Safe(text.into()))
    }

    /// A pipeline with its declarations.
    fn pipe(&mut self, pipe: &PipeNode, dot: &Value) -> Step<Value> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.decl {
            self.bind(name, value.clone(), pipe.is_assign);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &PipeNode, dot: &Value) -> Step<Value> {
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(command, dot, piped)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &CommandNode, dot: &Value, piped: Option<Value>) -> Step<Value> {
        let Some((first, rest)) = command.args.split_first() else {
            return Ok(Value::Nil);
        };
        let line = command.pos.line;
        let is_bare = rest.is_empty() && piped.is_none();
        let args = Args { exprs: rest, dot, piped, line };
        match first {
            Expr::Identifier(_, name) => self.call(name, args),
            Expr::Field(_, path) => self.method(dot.clone(), path, args),
            Expr::Variable(_, name, path) => {
                let value = self.variable(name, line)?;
                self.method(value, path, args)
            }
            Expr::Chain(_, inner, path) => {
                let value = self.expr(inner, dot)?;
                self.method(value, path, args)
            }
            _ if is_bare => self.expr(first, dot),
            _ => Err(self.error(line, "can't give argument to non-function")),
        }
    }

    fn call(&mut self, name: &str, args: Args<'_>) -> Step<Value> {
        // `and` and `or` stop at the first argument that decides.
        if matches!(name, "and" | "or") {
            let mut last = Value::Nil;
            for arg in args.exprs {
                last = self.expr(arg, args.dot)?;
                if last.is_true() == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(args.piped.unwrap_or(last));
        }
        let line = args.line;
        let values = self.values(args)?;
        if name == "tmpl"
            && self.run.functions.contains_key(name)
            && let [template, data] = values.as_slice()
        {
            return self.expand_named(&template.text(), data, line);
        }
        let result = match self.run.functions.get(name) {
            Some(function) => function(&values),
            None => builtins::call(name, &values).unwrap_or_else(|| Err(format!("function {name:?} not defined"))),
        };
        result.map_err(|error| self.error(line, &format!("error calling {name}: {error}")))
    }

    /// A path of fields of which the last may be a method with arguments.
    fn method(&mut self, mut value: Value, path: &[impl AsRef<str>], args: Args<'_>) -> Step<Value> {
        let line = args.line;
        let Some((last, fields)) = path.split_last() else {
            return if args.exprs.is_empty() && args.piped.is_none() {
                Ok(value)
            } else {
                Err(self.error(line, "can't give argument to non-function"))
            };
        };
        let values = self.values(args)?;
        for field in fields {
            value = value.get(field.as_ref(), &[]).map_err(|error| self.error(line, &error))?;
        }
        value.get(last.as_ref(), &values).map_err(|error| self.error(line, &error))
    }

    fn values(&mut self, args: Args<'_>) -> Step<Vec<Value>> {
        let mut values: Vec<Value> = args.exprs.iter().map(|expr| self.expr(expr, args.dot)).collect::<Step<_>>()?;
        values.extend(args.piped);
        Ok(values)
    }

    fn expr(&mut self, expr: &Expr, dot: &Value) -> Step<Value> {
        let line = expr.pos().line;
        let none = Args { exprs: &[], dot, piped: None, line };
        match expr {
            Expr::Dot(_) => Ok(dot.clone()),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::Bool(_, value) => Ok(Value::Bool(*value)),
            Expr::String(_, text) => Ok(Value::Str(text.clone())),
            Expr::Number(_, Number::Int(value)) => Ok(Value::Int(*value)),
            Expr::Number(_, Number::Uint(value)) => Ok(Value::Float(*value as f64)),
            Expr::Number(_, Number::Float(value)) => Ok(Value::Float(*value)),
            Expr::Pipe(_, pipe) => self.pipe(pipe, dot),
            Expr::Field(_, path) => self.method(dot.clone(), path, none),
            Expr::Variable(_, name, path) => {
                let value = self.variable(name, line)?;
                self.method(value, path, none)
            }
            Expr::Chain(_, inner, path) => {
                let value = self.expr(inner, dot)?;
                self.method(value, path, none)
            }
            Expr::Identifier(_, name) => self.call(name, none),
        }
    }

    fn variable(&self, name: &str, line: usize) -> Step<Value> {
        let found = self.variables.iter().rev().find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| self.error(line, &format!("undefined variable {name:?}")))
    }

    fn bind(&mut self, name: &str, value: Value, is_assign: bool) {
        let known = self.variables.iter_mut().rev().find(|(candidate, _)| is_assign && candidate == name);
        match known {
            Some((_, slot)) => *slot = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn print(&mut self, text: &str, line: usize) -> Step<()> {
        if self.output.len() + text.len() > self.run.limits.output_bytes_max {
            return Err(self.error(line, "output limit exceeded"));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn error(&self, line: usize, message: &str) -> TemplateError {
        let name = self.run.name;
        TemplateError(format!("template: {name}:{line}: executing {name:?}: {message}"))
    }
}

/// Looks for calls of functions that nobody defines, and for `break` and `continue` where there is nothing to leave.
pub(super) fn check_nodes(name: &str, list: &ListNode, functions: &Functions, in_range: bool) -> Step<()> {
    for node in &list.nodes {
        let (pipe, bodies): (Option<&PipeNode>, Vec<(&ListNode, bool)>) = match node {
            Node::List(list) => (None, vec![(list, in_range)]),
            Node::Action(action) => (Some(&action.pipe), Vec::new()),
            Node::If(branch) | Node::With(branch) => {
                let bodies = std::iter::once(&branch.body).chain(&branch.else_body);
                (Some(&branch.pipe), bodies.map(|body| (body, in_range)).collect())
            }
            Node::Range(branch) => {
                let otherwise = branch.else_body.iter().map(|body| (body, in_range));
                (Some(&branch.pipe), std::iter::once((&branch.body, true)).chain(otherwise).collect())
            }
            Node::Break(at) | Node::Continue(at) if !in_range => {
                let word = if matches!(node, Node::Break(_)) { "break" } else { "continue" };
                return Err(TemplateError(format!(
                    "template: {name}:{}: {{{{{word}}}}} outside {{{{range}}}}",
                    at.line
                )));
            }
            Node::Template(call) => (call.pipe.as_ref(), Vec::new()),
            _ => (None, Vec::new()),
        };
        if let Some(pipe) = pipe {
            check_pipe(name, pipe, functions)?;
        }
        for (body, in_range) in bodies {
            check_nodes(name, body, functions, in_range)?;
        }
    }
    Ok(())
}

fn check_pipe(name: &str, pipe: &PipeNode, functions: &Functions) -> Step<()> {
    for expr in pipe.commands.iter().flat_map(|command| &command.args) {
        check_expr(name, expr, functions)?;
    }
    Ok(())
}

fn check_expr(name: &str, expr: &Expr, functions: &Functions) -> Step<()> {
    match expr {
        Expr::Identifier(pos, function)
            if !functions.contains_key(function.as_str()) && !builtins::NAMES.contains(&function.as_str()) =>
        {
            Err(TemplateError(format!("template: {name}:{}: function {function:?} not defined", pos.line)))
        }
        Expr::Pipe(_, pipe) => check_pipe(name, pipe, functions),
        Expr::Chain(_, inner, _) => check_expr(name, inner, functions),
        _ => Ok(()),
    }
}
