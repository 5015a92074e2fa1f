//! AdamW with decoupled weight decay, clipping by the global norm, frozen parameters and f32 state whatever the model's type.
//! Knows neither losses nor data. The update equals `torch.optim.AdamW` after `clip_grad_norm_`.

use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::parallel::{GradientSum, Workers};
use crate::error::{Error, Result};
use crate::model::kernels::update::{AdamWStep, adamw};
use crate::model::{Model, Parameter};

/// `clip_grad_norm_` adds this to the norm before dividing.
const CLIP_EPSILON: f64 = 1e-6;

/// What AdamW does besides following the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWOptions {
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; matrices only, never norms and biases.
    pub weight_decay: f64,
    /// The global norm that gradients are scaled down to; `None` for no clipping.
    pub max_gradient_norm: Option<f64>,
}

/// One trained parameter's state.
#[derive(Clone)]
struct Slot {
    name: String,
    decays: bool,
    /// First and second moment, flat, f32; absent before the first gradient.
    moments: Option<(Tensor<1>, Tensor<1>)>,
    /// The f32 value behind a parameter of a narrower type.
    master: Option<Tensor<1>>,
}

/// AdamW over the parameters of one model. A copy shares the tensors.
#[derive(Clone)]
pub struct AdamW {
    options: AdamWOptions,
    /// One per parameter of the model, in its order; `None` for a frozen one.
    slots: Vec<Option<Slot>>,
    /// Updates done so far.
    updates: usize,
}

/// Whether a parameter is trained: no prefix of `freeze` starts its name.
pub fn is_trained(name: &str, freeze: &[String]) -> bool {
    !freeze.iter().any(|prefix| name.starts_with(prefix.as_str()))
}

impl AdamW {
    /// An optimizer with no history for `model`, leaving parameters whose name starts with an entry of `freeze` as they are.
    ///
    /// # Errors
    /// When an entry of `freeze` fits no parameter, or nothing is left to train.
    pub fn new(model: &Model, freeze: &[String], options: AdamWOptions) -> Result<Self> {
        let parameters = model.parameters();
        for prefix in freeze {
            // A text-only model has no vision tower, and the recipes freeze it by default.
            let expected = prefix.starts_with("visual.") && model.config().vision.is_none();
            if !expected && !parameters.iter().any(|(name, _)| name.starts_with(prefix.as_str())) {
                return Err(Error::option("freeze", format!("no parameter's name starts with `{prefix}`")));
            }
        }
        let slots: Vec<Option<Slot>> = parameters
            .into_iter()
            .map(|(name, parameter)| {
                is_trained(&name, freeze).then(|| Slot {
                    name,
                    decays: parameter.is_matrix(),
                    moments: None,
                    master: master_of(&parameter.flat()),
                })
            })
            .collect();
        if slots.iter().all(Option::is_none) {
            return Err(Error::option("freeze", "every parameter is frozen: nothing is left to train"));
        }
        Ok(Self { options, slots, updates: 0 })
    }

    /// Moves the model's parameters against `gradients` and returns the global norm that these had before clipping. A norm
    /// that is not finite is returned as it is, and nothing is changed.
    ///
    /// # Errors
    /// When a worker fails.
    pub fn update(
        &mut self,
        model: &mut Model,
        gradients: GradientSum,
        learning_rate: f64,
        workers: &Workers,
    ) -> Result<f64> {
        let norm = global_norm(&gradients, workers)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let scale = match self.options.max_gradient_norm {
            Some(limit) => (limit / (norm + CLIP_EPSILON)).min(1.0),
            None => 1.0,
        };
        self.updates += 1;
        let rule = Rule::new(&self.options, self.updates, learning_rate, scale);
        let mut gradients = gradients.values;
        gradients.resize(self.slots.len(), None);
        let jobs: Vec<_> = std::mem::take(&mut self.slots)
            .into_iter()
            .zip(model.parameters())
            .zip(gradients)
            .map(|((slot, (_, parameter)), gradient)| (slot, parameter, gradient))
            .collect();
        let results = workers.run(jobs, |(slot, parameter, gradient)| {
            Ok(match (slot, gradient) {
                (Some(slot), Some(gradient)) => {
                    let (slot, value) = rule.apply(slot, parameter.flat(), gradient);
                    (Some(slot), Some(value))
                }
                (slot, _) => (slot, None),
            })
        })?;
        let mut values = Vec::with_capacity(results.len());
        for (slot, value) in results {
            self.slots.push(slot);
            values.push(value);
        }
        put(model, values);
        Ok(norm)
    }

    /// The state by name: `first.NAME`, `second.NAME` (the moments) and `value.NAME` (the parameter in f32), all flat f32.
    pub fn state(&self, model: &Model) -> Vec<(String, Tensor<1>)> {
        let mut state = Vec::new();
        for (slot, (_, parameter)) in self.slots.iter().zip(model.parameters()) {
            let Some(slot) = slot else { continue };
            let value = slot.master.clone().unwrap_or_else(|| parameter.flat());
            state.push((format!("value.{}", slot.name), value));
            if let Some((first, second)) = &slot.moments {
                state.push((format!("first.{}", slot.name), first.clone()));
                state.push((format!("second.{}", slot.name), second.clone()));
            }
        }
        state
    }

    /// Updates done so far.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Puts a state of [`AdamW::state`] back, into the optimizer and into the model's parameters. `take` gives the numbers of
    /// a name, or nothing when the state has none.
    ///
    /// # Errors
    /// When a trained parameter's value is missing, or numbers do not fill their parameter.
    pub fn restore(
        &mut self,
        model: &mut Model,
        updates: usize,
        take: &dyn Fn(&str) -> Result<Option<Vec<f32>>>,
    ) -> Result<()> {
        let mut values = Vec::with_capacity(self.slots.len());
        for (slot, (_, parameter)) in self.slots.iter_mut().zip(model.parameters()) {
            let Some(slot) = slot else {
                values.push(None);
                continue;
            };
            let flat = parameter.flat();
            let [length] = flat.dims();
            let tensor = |kind: &str| -> Result<Option<Tensor<1>>> {
                let name = format!("{kind}.{}", slot.name);
                let Some(numbers) = take(&name)? else { return Ok(None) };
                if numbers.len() != length {
                    let found = numbers.len();
                    return Err(Error::state(format!(
                        "`{name}` has {found} numbers: the model's parameter has {length}"
                    )));
                }
                Ok(Some(Tensor::from_data(TensorData::new(numbers, [length]), &flat.device())))
            };
            let value = tensor("value")?
                .ok_or_else(|| Error::state(format!("no value of the trained parameter `{}`", slot.name)))?;
            let moments = tensor("first")?.zip(tensor("second")?);
            slot.master = slot.master.is_some().then(|| value.clone());
            slot.moments = moments;
            values.push(Some(value.cast(flat.dtype())));
        }
        put(model, values);
        self.updates = updates;
        Ok(())
    }
}

/// The f32 copy of a value of a narrower type; nothing for one that is f32 already.
fn master_of(value: &Tensor<1>) -> Option<Tensor<1>> {
    (value.dtype() != DType::F32).then(|| value.clone().cast(FloatDType::F32))
}

/// Puts new flat values into the model, in the order of its parameters.
fn put(model: &mut Model, values: Vec<Option<Tensor<1>>>) {
    let mut values = values.into_iter();
    model.map_parameters(&mut |_, parameter: Parameter| match values.next().flatten() {
        Some(value) => parameter.from_flat(value),
        None => parameter,
    });
}

/// The Euclidean norm of all gradients together, summed in the order of the parameters. Each sum runs on one worker: where
/// several threads share a large sum, the order of its parts is left to chance.
fn global_norm(gradients: &GradientSum, workers: &Workers) -> Result<f64> {
    let gradients: Vec<Tensor<1>> = gradients.values.iter().flatten().cloned().collect();
    let squares = workers.run(gradients, |gradient| Ok(gradient.square().sum()))?;
    if squares.is_empty() {
        return Ok(0.0);
    }
    let read = Tensor::cat(squares, 0).try_into_vec_as::<f32>();
    let values = read.map_err(|error| Error::device(format!("cannot read the gradient's norm: {error}")))?;
    Ok(values.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// The numbers of one update, the same for all parameters.
struct Rule(AdamWStep);

impl Rule {
    fn new(options: &AdamWOptions, update: usize, learning_rate: f64, scale: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(update as f64);
        let root = correction(options.betas[1]).sqrt();
        Self(AdamWStep {
            betas: options.betas,
            epsilon: options.epsilon * root,
            rate: learning_rate * root / correction(options.betas[0]),
            keep: 1.0 - learning_rate * options.weight_decay,
            scale,
        })
    }

    /// The slot and the parameter's new value after one gradient. Every operand is owned, so the backend can work in place.
    fn apply(&self, mut slot: Slot, parameter: Tensor<1>, gradient: Tensor<1>) -> (Slot, Tensor<1>) {
        let narrow = parameter.dtype();
        let value = slot.master.take().unwrap_or(parameter);
        let keep = if slot.decays { self.0.keep } else { 1.0 };
        let gradient = gradient.cast(FloatDType::F32);
        let (value, moments) = adamw(&AdamWStep { keep, ..self.0 }, value, slot.moments.take(), gradient);
        slot.moments = Some(moments);
        if narrow == DType::F32 {
            (slot, value)
        } else {
            slot.master = Some(value.clone());
            (slot, value.cast(narrow))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::reference::files;
    use burn::tensor::Device;

    fn numbers(value: &serde_json::Value) -> Vec<f32> {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn values(tensor: &Tensor<1>) -> Vec<f32> {
        tensor.to_data().iter::<f32>().collect()
    }

    fn slot() -> Slot {
        Slot { name: "p".into(), decays: true, moments: None, master: None }
    }

    /// The reference decays its only parameter, so the slot says that it does.
    #[test]
    fn traces_of_clipped_steps_equal_the_reference() {
        let [file, more] = files();
        for reference in more["adamw_traces"].as_array().unwrap().iter().chain([&file["adamw"]]) {
            let options = AdamWOptions {
                betas: serde_json::from_value(reference["betas"].clone()).unwrap(),
                epsilon: reference["eps"].as_f64().unwrap(),
                weight_decay: reference["weight_decay"].as_f64().unwrap(),
                max_gradient_norm: reference["max_grad_norm"].as_f64(),
            };
            let workers = Workers::new(1).unwrap();
            let mut value = tensor(&numbers(&reference["init"]));
            let mut slot = slot();
            for (index, step) in reference["trace"].as_array().unwrap().iter().enumerate() {
                let gradients = GradientSum { values: vec![Some(tensor(&numbers(&step["raw_grad"])))] };
                let norm = global_norm(&gradients, &workers).unwrap();
                let expected_norm = step["total_norm"].as_f64().unwrap();
                assert!((norm - expected_norm).abs() <= 1e-6 * expected_norm, "{norm} {expected_norm}");
                let scale = (options.max_gradient_norm.unwrap() / (norm + CLIP_EPSILON)).min(1.0);
                let rule = Rule::new(&options, index + 1, reference["lr"].as_f64().unwrap(), scale);
                let gradient = gradients.values.into_iter().flatten().next().unwrap();
                (slot, value) = rule.apply(slot, value, gradient);
                // The state is f32, the reference f64.
                for (a, b) in values(&value).iter().zip(numbers(&step["param"])) {
                    assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "step {index}: {a} {b}");
                }
            }
        }
    }

    /// At a rate far below a bf16 weight's resolution, the weights behind bf16 ones move to the bit as f32 weights do, though
    /// hardly any rounded one does.
    #[test]
    fn bf16_weights_move_as_f32_ones_do() {
        let options = AdamWOptions { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 0.01, max_gradient_norm: None };
        let start: Vec<f32> = (0..64).map(|index| 1.0 + index as f32 / 32.0).collect();
        let mut wide = (slot(), tensor(&start));
        let narrow = tensor(&start).cast(FloatDType::BF16);
        let mut narrow = (Slot { master: master_of(&narrow), ..slot() }, narrow);
        for step in 0..100 {
            let rule = Rule::new(&options, step + 1, 1e-6, 1.0);
            let gradient: Vec<f32> = (0..64).map(|index| 1.5 + (index as f32 + step as f32).sin()).collect();
            wide = rule.apply(wide.0, wide.1, tensor(&gradient));
            narrow = rule.apply(narrow.0, narrow.1, tensor(&gradient));
        }
        let (slot, rounded) = narrow;
        let master = slot.master.unwrap();
        assert_eq!(values(&master), values(&wide.1));
        assert_eq!(values(&rounded), values(&master.clone().cast(FloatDType::BF16)));
        let (moments, _) = slot.moments.unwrap();
        assert_eq!((rounded.dtype(), master.dtype(), moments.dtype()), (DType::BF16, DType::F32, DType::F32));
        assert!(values(&master).iter().zip(&start).all(|(now, then)| (then - now) > 5e-5), "the weights moved");
    }
}
