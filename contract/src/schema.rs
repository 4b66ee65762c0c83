//! The schemas of a domain's types, as `schemars` generates them.

use schemars::generate::{Contract as Direction, SchemaSettings};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::ContractError;

/// Where the schemas of types are, in a document with references. The parser of
/// AsyncAPI accepts no references to `#/$defs`.
const COMPONENTS: &str = "/components/schemas";

/// How types are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// What Millrace sends. Members that are `None` are left out.
    Sent,
    /// What Millrace receives.
    Received,
}

/// The members of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    /// A variant's serde name; a struct's name in Rust.
    pub(crate) name: String,
    /// The type's doc comment.
    pub(crate) description: Option<String>,
    /// The members' schemas.
    pub(crate) properties: Map<String, Value>,
    /// The members that are never left out.
    pub(crate) required: Vec<String>,
    /// Whether other members are refused.
    pub(crate) is_closed: bool,
}

/// A generator of schemas. The schemas of member types are part of each schema, or references name them.
pub(crate) fn generator(usage: Use, has_references: bool) -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = COMPONENTS.into();
            settings.inline_subschemas = !has_references;
            settings.meta_schema = None;
            settings.contract = match usage {
                Use::Sent => Direction::Serialize,
                Use::Received => Direction::Deserialize,
            };
        })
        .into_generator()
}

/// A reference to a schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#{COMPONENTS}/{name}") })
}

/// The variants of an enum whose variants have named fields.
///
/// # Errors
/// [`ContractError::Form`].
pub(crate) fn variants<T: JsonSchema>(
    generator: &mut SchemaGenerator,
) -> Result<Vec<Object>, ContractError> {
    let form = || ContractError::Form(T::schema_name().into_owned());
    let schema = T::json_schema(generator).to_value();
    let variants = schema.get("oneOf").and_then(Value::as_array);
    variants
        .ok_or_else(form)?
        .iter()
        .map(|variant| {
            let (name, fields) = single(variant.get("properties")?)?;
            let mut object = object_of(name, fields)?;
            object.description = description(variant).or(object.description);
            Some(object)
        })
        .collect::<Option<_>>()
        .ok_or_else(form)
}

/// The members of a struct; none of `()`.
///
/// # Errors
/// [`ContractError::Form`].
pub(crate) fn members<T: JsonSchema>(
    generator: &mut SchemaGenerator,
) -> Result<Object, ContractError> {
    let name = T::schema_name();
    let schema = T::json_schema(generator).to_value();
    if schema.get("type") == Some(&json!("null")) {
        return Ok(Object::new(&name, None));
    }
    object_of(&name, &schema).ok_or_else(|| ContractError::Form(name.into_owned()))
}

impl Object {
    /// An object without members, which accepts others.
    pub(crate) fn new(name: &str, description: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            description: description.map(str::to_owned),
            properties: Map::new(),
            required: Vec::new(),
            is_closed: false,
        }
    }

    /// Leaves `null` out of each member's schema: a member that would be `null` is left out.
    pub(crate) fn without_null(mut self) -> Self {
        for (name, schema) in &mut self.properties {
            if remove_null(schema) {
                self.required.retain(|required| required != name);
            }
        }
        self
    }

    /// Renames the members.
    pub(crate) fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        Self {
            properties: self
                .properties
                .into_iter()
                .map(|(name, schema)| (rename(&name), schema))
                .collect(),
            required: self.required.iter().map(|name| rename(name)).collect(),
            ..self
        }
    }

    /// Adds a member that is never left out.
    pub(crate) fn with(mut self, name: &str, schema: Value) -> Self {
        self.required.push(name.to_owned());
        self.with_optional(name, schema)
    }

    /// Adds a member that may be left out.
    pub(crate) fn with_optional(mut self, name: &str, schema: Value) -> Self {
        self.properties.insert(name.to_owned(), schema);
        self
    }

    /// The object's schema.
    pub(crate) fn schema(&self) -> Value {
        let mut required = self.required.clone();
        required.sort();
        let mut schema = json!({
            "type": "object",
            "properties": self.properties,
            "required": required,
        });
        if let Some(description) = &self.description {
            schema["description"] = json!(description);
        }
        if self.is_closed {
            schema["additionalProperties"] = json!(false);
        }
        schema
    }
}

/// Adds the schemas that references of this generator name.
///
/// # Errors
/// [`ContractError::NameTaken`].
pub(crate) fn add_definitions(
    schemas: &mut Map<String, Value>,
    generator: &mut SchemaGenerator,
) -> Result<(), ContractError> {
    for (name, schema) in generator.take_definitions(true) {
        add(schemas, name, schema)?;
    }
    Ok(())
}

/// Adds a schema that references may name.
///
/// # Errors
/// [`ContractError::NameTaken`] if another schema has the name.
pub(crate) fn add(
    schemas: &mut Map<String, Value>,
    name: String,
    schema: Value,
) -> Result<(), ContractError> {
    if schemas.get(&name).is_some_and(|other| *other != schema) {
        return Err(ContractError::NameTaken(name));
    }
    schemas.insert(name, schema);
    Ok(())
}

/// The values that a schema permits, if it lists them: an `enum`, a `const`, or an enum whose values have texts.
pub(crate) fn values(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    let choices = schema.get("oneOf").and_then(Value::as_array)?;
    let values: Vec<Vec<&Value>> = choices.iter().map(values).collect::<Option<_>>()?;
    Some(values.concat())
}

fn object_of(name: &str, schema: &Value) -> Option<Object> {
    if schema.get("type")? != "object" {
        return None;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    Some(Object {
        name: name.to_owned(),
        description: description(schema),
        properties: properties.cloned().unwrap_or_default(),
        required: required.map(str::to_owned).collect(),
        is_closed: schema.get("additionalProperties") == Some(&json!(false)),
    })
}

fn description(schema: &Value) -> Option<String> {
    Some(schema.get("description")?.as_str()?.to_owned())
}

fn single(members: &Value) -> Option<(&String, &Value)> {
    let mut members = members.as_object()?.iter();
    members.next().filter(|_| members.next().is_none())
}

/// Removes `null` from what a schema permits. Returns whether it was permitted.
fn remove_null(schema: &mut Value) -> bool {
    let null = json!("null");
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        let before = types.len();
        types.retain(|permitted| *permitted != null);
        let is_removed = types.len() < before;
        if let [only] = &types[..] {
            schema["type"] = only.clone();
        }
        return is_removed;
    }
    let null = json!({ "type": "null" });
    let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = choices.len();
    choices.retain(|choice| *choice != null);
    let is_removed = choices.len() < before;
    if let [only] = &mut choices[..] {
        let only = only.take();
        let description = schema.get("description").cloned();
        *schema = only;
        if let (Some(description), Some(members)) = (description, schema.as_object_mut()) {
            members.insert("description".to_owned(), description);
        }
    }
    is_removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_schemas_of_one_name_are_an_error() {
        let mut schemas = Map::new();
        let mut add = |schema: Value| add(&mut schemas, "View".to_owned(), schema);
        assert_eq!(add(json!({ "type": "string" })), Ok(()));
        assert_eq!(add(json!({ "type": "string" })), Ok(()));
        let taken = ContractError::NameTaken("View".to_owned());
        assert_eq!(add(json!({ "type": "integer" })), Err(taken));
    }
}
