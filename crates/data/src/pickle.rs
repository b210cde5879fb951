//! A reader of the Python pickles that the CIFAR releases are made of.
//!
//! It builds plain values and knows three callables by name: numpy's array and dtype constructors and
//! `_codecs.encode` (how Python 3 writes bytes in protocol 2). Anything else is an error; nothing is ever executed.
//! Protocols 2 to 4, as far as dictionaries, lists, strings, numbers and byte arrays go.

use std::borrow::Cow;

/// A place in the arena of values.
pub(crate) type Id = usize;

/// A value; containers hold places in the arena.
#[derive(Debug, Clone, PartialEq)]
enum Node<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(String),
    /// A numpy array or dtype, with the state that is set after its making.
    Array(Option<Id>),
    Dtype(Id),
}

/// A read pickle.
pub(crate) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
}

/// The virtual machine of the format: a stack with marks, and a memo of places.
struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u64, Id>,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle; the error says where and why it fails.
    pub fn read(input: &'a [u8]) -> Result<Self, String> {
        let (nodes, stack, marks, memo) = Default::default();
        let mut machine = Machine { input, at: 0, nodes, stack, marks, memo };
        loop {
            let at = machine.at;
            match machine.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(reason) => return Err(format!("{reason} (pickle byte {at})")),
            }
        }
        let root = machine.stack.pop().ok_or("an empty pickle")?;
        Ok(Self { nodes: machine.nodes, root })
    }

    /// The value under `key` in the outermost dictionary; keys may be bytes or text.
    pub fn get(&self, key: &str) -> Result<Id, String> {
        let Node::Dict(items) = &self.nodes[self.root] else { return Err("not a dictionary".into()) };
        let matches = |id: &Id| match &self.nodes[*id] {
            Node::Bytes(b) => b.as_ref() == key.as_bytes(),
            Node::Text(t) => t == key,
            _ => false,
        };
        items.iter().find(|(k, _)| matches(k)).map(|(_, v)| *v).ok_or_else(|| format!("no entry \"{key}\""))
    }

    /// A list of integers.
    pub fn integers(&self, id: Id) -> Result<Vec<i64>, String> {
        let (Node::List(items) | Node::Tuple(items)) = &self.nodes[id] else { return Err("not a list".into()) };
        let integer =
            |i: &Id| if let Node::Int(n) = self.nodes[*i] { Ok(n) } else { Err("not an integer".to_string()) };
        items.iter().map(integer).collect()
    }

    /// A list of strings.
    pub fn strings(&self, id: Id) -> Result<Vec<String>, String> {
        let Node::List(items) = &self.nodes[id] else { return Err("not a list".into()) };
        items.iter().map(|i| self.text(*i).ok_or_else(|| "not a string".to_string())).collect()
    }

    fn text(&self, id: Id) -> Option<String> {
        match &self.nodes[id] {
            Node::Bytes(b) => Some(String::from_utf8_lossy(b).into_owned()),
            Node::Text(t) => Some(t.to_string()),
            _ => None,
        }
    }

    /// The bytes and the shape of a row-major numpy array of `uint8`.
    pub fn byte_array(&self, id: Id) -> Result<(&[u8], Vec<i64>), String> {
        let Node::Array(Some(state)) = self.nodes[id] else { return Err("not a numpy array".into()) };
        // The state is (version, shape, dtype, column-major, data).
        let Node::Tuple(state) = &self.nodes[state] else { return Err("an array without state".into()) };
        let [_, shape, dtype, order, data] = state[..] else { return Err("an array of unknown layout".into()) };
        let kind = if let Node::Dtype(name) = self.nodes[dtype] { self.text(name) } else { None };
        if kind.as_deref() != Some("u1") {
            return Err(format!("an array of {} instead of uint8", kind.unwrap_or_default()));
        }
        let shape = self.integers(shape)?;
        // Column-major order is the flag True; with one axis it means nothing.
        if self.nodes[order] == Node::Int(1) && shape.len() > 1 {
            return Err("a column-major array".into());
        }
        match &self.nodes[data] {
            Node::Bytes(bytes) => Ok((bytes, shape)),
            _ => Err("an array without bytes".into()),
        }
    }
}

impl<'a> Machine<'a> {
    /// Executes one instruction; false at the end.
    fn step(&mut self) -> Result<bool, String> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return Ok(false),
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Node::None),
            // Flags keep their truth as an integer, which is all that is asked of them.
            0x88 => self.push(Node::Int(1)),
            0x89 => self.push(Node::Bool),
            b'K' => self.unsigned::<1>(|n| n)?,
            b'M' => self.unsigned::<2>(|n| n)?,
            b'J' => self.unsigned::<4>(|n| i64::from(n as i32))?,
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Node::Float);
            }
            b'U' | b'C' => self.bytes::<1>()?,
            b'T' | b'B' => self.bytes::<4>()?,
            0x8e => self.bytes::<8>()?,
            0x8c => self.text::<1>()?,
            b'X' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            b'}' => self.push(Node::Dict(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => self.small_tuple(usize::from(opcode) - 0x84)?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'q' => self.put::<1>()?,
            b'r' => self.put::<4>()?,
            0x94 => self.memoize(self.memo.len() as u64)?,
            b'h' => self.fetch::<1>()?,
            b'j' => self.fetch::<4>()?,
            b'0' => drop(self.pop()?),
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => return Err(format!("instruction {other:#04x} is not supported")),
        }
        Ok(true)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|&e| e <= self.input.len()).ok_or("the file is truncated")?;
        let bytes = &self.input[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// A little-endian number of `N` bytes.
    fn length<const N: usize>(&mut self) -> Result<u64, String> {
        Ok(self.array::<N>()?.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".into())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "the stack is empty".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|&m| m <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn unsigned<const N: usize>(&mut self, sign: impl Fn(i64) -> i64) -> Result<(), String> {
        let n = self.length::<N>()? as i64;
        self.push(Node::Int(sign(n)));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let n = self.length::<1>()? as usize;
        let bytes = self.take(n)?;
        if n > 8 {
            return Err("an integer beyond 64 bits".into());
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut full = [if negative { 0xff } else { 0 }; 8];
        full[..n].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(full)));
        Ok(())
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], String> {
        let n = usize::try_from(self.length::<N>()?).map_err(|_| "the file is truncated")?;
        self.take(n)
    }

    fn bytes<const N: usize>(&mut self) -> Result<(), String> {
        let bytes = self.sized::<N>()?;
        self.push(Node::Bytes(Cow::Borrowed(bytes)));
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let text = std::str::from_utf8(self.sized::<N>()?).map_err(|_| "text that is not UTF-8")?;
        self.push(Node::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn small_tuple(&mut self, n: usize) -> Result<(), String> {
        let start = self.stack.len().checked_sub(n).ok_or("the stack is empty")?;
        let items = self.stack.split_off(start);
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        let Node::List(list) = &mut self.nodes[top] else { return Err("appending to what is no list".into()) };
        list.extend(items);
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        let Node::Dict(dict) = &mut self.nodes[top] else { return Err("setting in what is no dictionary".into()) };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key without a value".into());
        }
        dict.extend(pairs.iter().map(|&[k, v]| (k, v)));
        Ok(())
    }

    fn put<const N: usize>(&mut self) -> Result<(), String> {
        let index = self.length::<N>()?;
        self.memoize(index)
    }

    fn memoize(&mut self, index: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn fetch<const N: usize>(&mut self) -> Result<(), String> {
        let index = self.length::<N>()?;
        let id = *self.memo.get(&index).ok_or("a reference to nothing")?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let mut line = || -> Result<String, String> {
            let rest = &self.input[self.at..];
            let n = rest.iter().position(|&b| b == b'\n').ok_or("the file is truncated")?;
            self.at += n + 1;
            Ok(String::from_utf8_lossy(&rest[..n]).into_owned())
        };
        let (module, name) = (line()?, line()?);
        self.push(Node::Global(format!("{module}.{name}")));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
            return Err("a name that is no text".into());
        };
        let global = Node::Global(format!("{module}.{name}"));
        self.push(global);
        Ok(())
    }

    /// Calls one of the known callables.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Node::Global(name), Node::Tuple(arguments)) = (&self.nodes[callable], &self.nodes[arguments]) else {
            return Err("a call of what is no name".into());
        };
        let node = match name.as_str() {
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => Node::Array(None),
            "numpy.dtype" => Node::Dtype(*arguments.first().ok_or("a dtype without a name")?),
            "_codecs.encode" => {
                let text = arguments.first().map(|&i| &self.nodes[i]);
                let Some(Node::Text(text)) = text else { return Err("encoding what is no text".into()) };
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                Node::Bytes(Cow::Owned(bytes.ok_or("text beyond latin-1")?))
            }
            "__builtin__.bytes" | "builtins.bytes" if arguments.is_empty() => Node::Bytes(Cow::Borrowed(&[])),
            other => return Err(format!("it calls {other}, which is not allowed")),
        };
        self.push(node);
        Ok(())
    }

    /// Gives an array its state; a dtype's state (byte order) does not matter for single bytes.
    fn build(&mut self) -> Result<(), String> {
        let (state, top) = (self.pop()?, self.top()?);
        match &mut self.nodes[top] {
            Node::Array(slot) => *slot = Some(state),
            Node::Dtype(_) => {}
            _ => return Err("state for what has none".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way Python 2 wrote the releases: `U` and `T` strings, `c` globals, memo references.
    pub fn python2_batch(pixels: &[u8], labels: &[u8]) -> Vec<u8> {
        let mut out =
            b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04".to_vec();
        out.extend(b"K\x00\x85q\x05U\x01bq\x06\x87q\x07Rq\x08(K\x01");
        out.push(b'M');
        out.extend((labels.len() as u16).to_le_bytes());
        out.extend(b"M\x00\x0c\x86q\x09cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
        out.extend((pixels.len() as u32).to_le_bytes());
        out.extend(pixels);
        out.extend(b"tbU\x06labels]q\x0c(");
        labels.iter().for_each(|l| out.extend([b'K', *l]));
        out.extend(b"eU\x0bbatch_labelU\x05oneofu.");
        out
    }

    #[test]
    fn the_python_2_form() {
        let pixels: Vec<u8> = (0..2 * 3072).map(|i| (i % 253) as u8).collect();
        let bytes = python2_batch(&pixels, &[7, 3]);
        let pickle = Pickle::read(&bytes).unwrap();
        let (data, shape) = pickle.byte_array(pickle.get("data").unwrap()).unwrap();
        assert_eq!((data, shape), (&pixels[..], vec![2, 3072]));
        assert_eq!(pickle.integers(pickle.get("labels").unwrap()).unwrap(), [7, 3]);
        assert!(pickle.get("none").unwrap_err().contains("none"));
        assert!(pickle.integers(pickle.get("data").unwrap()).is_err());
    }

    #[test]
    fn no_truncation_or_damage_panics() {
        let bytes = python2_batch(&[9; 20], &[1, 2]);
        for n in 0..bytes.len() {
            assert!(Pickle::read(&bytes[..n]).is_err(), "{n}");
        }
        let mut stream = subband_seed::Stream::new(3);
        for _ in 0..20_000 {
            let mut bad = bytes.clone();
            let at = stream.below(bad.len());
            bad[at] = stream.next_u64() as u8;
            if let Ok(pickle) = Pickle::read(&bad) {
                for key in ["data", "labels"] {
                    if let Ok(id) = pickle.get(key) {
                        let _ =
                            (pickle.byte_array(id).is_ok(), pickle.integers(id).is_ok(), pickle.strings(id).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn other_callables_are_refused() {
        let error = Pickle::read(b"\x80\x02cos\nsystem\nU\x02ls\x85R.").err().unwrap();
        assert!(error.contains("os.system"), "{error}");
        assert!(Pickle::read(b"\x80\x02I1\n.").err().unwrap().contains("0x49"));
    }
}
